"""The tasks.  Their names and arguments are what web processes and nodes put on the broker.

Each ends in one of few ways, all counted and logged with the push_id: every key has its fate, or the rest is on its
queue again for a later attempt, or it is a dead letter with the reason.  Only then is the task acknowledged.

A task may come twice, late, early, or in any order with others:

- *twice, or again after its worker died*: it is dispatched again; nodes drop what they have had.  What the store knows
  of it, and what happens when either dies between two steps, is in tasks/record.py and tasks/settling.py.
- *late*: past its time it ends as expired, by Redis' clock (store/clock.py), without being sent.
- *early*: a scheduled push whose time has not come goes back on its queue for the rest of it.
- *after a newer one of the same key*: a durable push has its place in the inbox, by which nodes keep the order; an
  ephemeral one promises none.
- *cancelled*: those keys are left out.
- *after another task of the same request*: it ends as superseded; the other one has all keys.

A push that is neither recorded nor claimed costs the store one look-up, as ever.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from proto import queues
from proto.errors import StoreUnavailable, UnknownServer
from proto.message import Fate, Push
from tasks import metrics, requeue, retry, settling, worker
from tasks.celery import app
from tasks.dispatch import Settlement
from tasks.record import Begun

log = structlog.get_logger()


@app.task(name=queues.PUSH_TASK)  # type: ignore[untyped-decorator]
def push(payload: Mapping[str, Any]) -> None:
    """Get one accepted push to the nodes that hold its keys.  *payload* is ``Push.to_payload()``."""
    try:
        it = Push.from_payload(payload)
    except ValueError as error:
        settling.bury(payload, "malformed", str(error))
        return
    now_ms = worker.now_ms()
    if it.not_before_ms > now_ms:
        _put_back(it, it.not_before_ms - now_ms)
        return
    if it.attempt == 0 and it.accepted_ms:
        metrics.QUEUE_SECONDS.observe(max(0, now_ms - max(it.accepted_ms, it.not_before_ms)) / 1000)
    if it.expired(now_ms):
        settling.settle(it, _all(it, Fate.EXPIRED))
        return
    try:
        begun = worker.record().begin(it) if it.recorded or it.claim else Begun(it)
    except StoreUnavailable as error:
        settling.settle(it, _all_left(it, str(error), away=True))
        return
    if begun.superseded:
        metrics.SUPERSEDED.inc()
        log.info("superseded", push_id=it.push_id, claim=it.claim)
        return
    settlement = _attempt(begun.push) if begun.push is not None else Settlement({}, (), {}, {}, 0)
    if begun.ended:
        settlement = replace(settlement, fates={**settlement.fates, **begun.ended})
    settling.settle(begun.push or it, settlement)


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


def _put_back(it: Push, rest_ms: int) -> None:
    delay_s = math.ceil(rest_ms / 1000)
    if not worker.settings().on_rabbitmq:  # a worker holds it, and the broker gives it to others after a while
        delay_s = min(delay_s, retry.LONGEST_DELAY_S)
    requeue.again(app, it, delay_s)
    log.info("early: put back", push_id=it.push_id, delay_s=delay_s)


def _attempt(it: Push) -> Settlement:
    try:
        with metrics.ATTEMPT_SECONDS.time():
            return worker.courier().attempt(it)
    except StoreUnavailable as error:
        return _all_left(it, str(error), away=True)
    except UnknownServer as error:
        log.error("unknown server: not sent", push_id=it.push_id, server=it.server)
        if error.retryable:
            return _all_left(it, str(error))
        return replace(_all(it, Fate.FAILED), reasons=dict.fromkeys(it.keys, str(error)), blame="unknown_server")


def _all(it: Push, fate: Fate) -> Settlement:
    return Settlement(dict.fromkeys(it.keys, fate), (), {}, {}, 0)


def _all_left(it: Push, reason: str, *, away: bool = False) -> Settlement:
    return Settlement({}, it.keys, it.done, dict.fromkeys(it.keys, reason), 0, away=away)
