"""The tasks.  Their names and arguments are what web processes and nodes put on the broker.

A task carries one push or many.  Each push ends in one of few ways, all counted and logged with the push_id: every key
has its fate, or the rest is on its queue again for a later attempt, or it is a dead letter with the reason.  Only when
all have ended so is the task acknowledged.  No push of a task has a say in how another ends:

- *malformed*: it is a dead letter, the others go.
- *left for later*: it goes on its queue by itself, or with others that are left as long; what is done is done.
- *one that makes this code fail*: the task is split into tasks of one push, and the culprit is alone with its failure.
- *one that kills its worker*: a task that comes back for the second time is split likewise, before anything else.  The
  broker counts how often each of those comes, and in the end keeps the culprit among the dead letters.  (The embedded
  broker only tells that a task has come before, so there it is split the first time.)

A task may come twice, late, early, or in any order with others:

- *twice, or again after its worker died*: it is dispatched again; nodes drop what they have had.  What the store knows
  of it, and what happens when either dies between two steps, is in tasks/record.py and tasks/settling.py.
- *late*: past its time it ends as expired, by Redis' clock (store/clock.py), without being sent.
- *early*: a scheduled push whose time has not come goes back on its queue for the rest of it.
- *after a newer one of the same key*: a durable push has its place in the inbox, by which nodes keep the order; an
  ephemeral one promises none.
- *cancelled*: those keys are left out.
- *after another task of the same request*: it ends as superseded; the other one has all keys.

Pushes that are neither recorded nor claimed cost the store one look-up a task.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Ignore, Reject

from proto import queues
from proto.errors import StoreUnavailable
from proto.message import Fate, Push
from tasks import ages, metrics, requeue, retry, settling, turns, worker
from tasks.celery import app
from tasks.courtesy import Courtesy
from tasks.dispatch import Settlement
from tasks.record import Begun

_COMES_AGAIN = 2  # once may be a worker's restart

_courtesy = Courtesy()

log = structlog.get_logger()


@app.task(name=queues.PUSH_TASK, bind=True)  # type: ignore[untyped-decorator]
def push(self: Task, *payloads: Mapping[str, Any]) -> None:
    """Get accepted pushes to the nodes that hold their keys.  *payloads* are of ``Push.to_payload()``."""
    if not payloads:
        raise ValueError("a task without a push")
    pushes = _read(payloads)
    metrics.TASK_PUSHES.observe(len(payloads))
    if pushes:
        priority = pushes[0].priority
        with _courtesy.working(priority), turns.turn(priority):
            _carry_or_split(self, pushes)


def _carry_or_split(task: Task, pushes: Sequence[Push]) -> None:
    if len(pushes) == 1:
        _carry(pushes)
        return
    if _has_come_before(task.request):
        try:
            _split(pushes, "redelivered")
            return
        except Reject as error:  # a broker that takes nothing must at least be drained
            log.warning("not split", pushes=len(pushes), reason=str(error))
    try:
        _carry(pushes)
    except (Reject, Ignore):
        raise
    except Exception:
        log.exception("a task failed", pushes=[it.push_id for it in pushes])
        _split(pushes, "failed")


@app.task(name=queues.DISCONNECT_TASK)  # type: ignore[untyped-decorator]
def disconnect(keys: list[str], attempt: int = 0) -> None:
    """End every session that answers to one of *keys*.

    Tried again while the store is away, since nothing was done then.  A node that cannot be asked is logged and not
    asked again: by then the key's owner may have come back.
    """
    try:
        ended, errors = worker.courier().disconnect(keys)
    except StoreUnavailable as error:
        _disconnect_later(keys, attempt, str(error))
        return
    log.info("disconnected", keys=keys, sessions=ended, unreachable=[error.node for error in errors])


def _disconnect_later(keys: list[str], attempt: int, reason: str) -> None:
    match retry.next_step(attempt, max_attempts=worker.settings().max_attempts, now_ms=worker.now_ms(), expires_ms=0):
        case retry.Again(delay_s):
            requeue.disconnect_again(app, keys, attempt + 1, delay_s)
            metrics.RETRIES.inc()
            log.warning("retrying a disconnect", keys=keys, delay_s=delay_s, attempt=attempt, reason=reason)
        case retry.GiveUp():
            settling.bury({"keys": keys}, "disconnect_failed", reason)


def _read(payloads: Sequence[Mapping[str, Any]]) -> list[Push]:
    """Read what can be read; the rest are dead letters."""
    pushes: list[Push] = []
    for payload in payloads:
        try:
            pushes.append(Push.from_payload(payload))
        except ValueError as error:
            settling.bury(payload, "malformed", str(error))
    return pushes


def _has_come_before(request: Any) -> bool:
    count = request.get("x-delivery-count")
    if isinstance(count, int):
        return count >= _COMES_AGAIN
    return not worker.settings().on_rabbitmq and bool((request.delivery_info or {}).get("redelivered"))


def _split(pushes: Sequence[Push], why: str) -> None:
    """Give each push a task of its own; raises Reject where the broker does not take them all."""
    requeue.apart(app, pushes)
    metrics.SPLITS.labels(why).inc()
    log.warning("split", why=why, pushes=[it.push_id for it in pushes])


def _carry(pushes: Sequence[Push]) -> None:
    """Bring each push to its end, or as far as it comes now."""
    now_ms = worker.now_ms()
    early = [it for it in pushes if it.not_before_ms > now_ms]
    if early:
        _put_back(early, now_ms)
        pushes = [it for it in pushes if it.not_before_ms <= now_ms]
    _note_age(pushes, now_ms)
    ended = [(it, Settlement.all(it, Fate.EXPIRED)) for it in pushes if it.expired(now_ms)]
    begun, untold = _begin([it for it in pushes if not it.expired(now_ms)])
    going = [(it, one) for it, one in begun if not one.superseded]
    ended += untold
    ended += _attempted(going)
    if ended:
        with metrics.SETTLE_SECONDS.time():
            settling.settle(ended)


def _put_back(early: Sequence[Push], now_ms: int) -> None:
    later = []
    for it in early:
        delay_s = math.ceil((it.not_before_ms - now_ms) / 1000)
        if not worker.settings().on_rabbitmq:  # a worker holds it, and the broker gives it to others after a while
            delay_s = min(delay_s, retry.LONGEST_DELAY_S)
        later.append((it, delay_s))
    requeue.again(app, later)
    for it, delay_s in later:
        log.info("early: put back", push_id=it.push_id, delay_s=delay_s)


def _note_age(pushes: Sequence[Push], now_ms: int) -> None:
    """Measure how long those that come for the first time have waited; the longest wait names its push."""
    waited = [
        (max(0, now_ms - max(it.accepted_ms, it.not_before_ms)), it)
        for it in pushes
        if it.attempt == 0 and it.accepted_ms
    ]
    if not waited:
        return
    oldest = max(waited, key=lambda one: one[0])[1]
    ages.note(oldest.priority, min(age_ms for age_ms, _ in waited))
    for age_ms, it in waited:
        metrics.QUEUE_SECONDS.observe(age_ms / 1000, metrics.exemplar(it.push_id) if it is oldest else None)


def _begin(pushes: Sequence[Push]) -> tuple[list[tuple[Push, Begun]], list[tuple[Push, Settlement]]]:
    """Begin those on record; gives what may go on, and what is left since the store did not answer."""
    known = [it for it in pushes if it.recorded or it.claim]
    if not known:
        return [(it, Begun(it)) for it in pushes], []
    try:
        told = iter(worker.record().begin(known))
    except StoreUnavailable as error:
        others = [(it, Begun(it)) for it in pushes if not (it.recorded or it.claim)]
        return others, [(it, Settlement.none(it, str(error), away=True)) for it in known]
    begun = [(it, next(told) if it.recorded or it.claim else Begun(it)) for it in pushes]
    for it, one in begun:
        if one.superseded:
            metrics.SUPERSEDED.inc()
            log.info("superseded", push_id=it.push_id, claim=it.claim)
    return begun, []


def _attempted(begun: Sequence[tuple[Push, Begun]]) -> list[tuple[Push, Settlement]]:
    """Attempt what may be sent; keys that had ended before end as they did."""
    sent = [one.push for _, one in begun if one.push is not None]
    settled: list[Settlement] = []
    if sent:
        with metrics.ATTEMPT_SECONDS.time():
            settled = worker.courier().attempt(sent)
    settlements = iter(settled)
    ended: list[tuple[Push, Settlement]] = []
    for it, one in begun:
        settlement = next(settlements) if one.push is not None else Settlement({}, (), {}, {}, 0)
        if one.ended:
            settlement = replace(settlement, fates={**settlement.fates, **one.ended})
        ended.append((one.push or it, settlement))
    return ended
