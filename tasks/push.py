"""The tasks.  Their names and arguments are what web processes and nodes put on the broker.

Each ends in one of few ways, all counted and logged with the push_id: every key has its fate, or the rest is on its
queue again for a later attempt, or it is a dead letter with the reason.  Only then is the task acknowledged.
"""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import structlog

from proto import queues
from proto.errors import StoreUnavailable, UnknownServer
from proto.keys import PROBE_PREFIX
from proto.message import Fate, Push
from tasks import metrics, requeue, retry, worker
from tasks.celery import app
from tasks.dispatch import Settlement

log = structlog.get_logger()


@app.task(name=queues.PUSH_TASK)  # type: ignore[untyped-decorator]
def push(payload: Mapping[str, Any]) -> None:
    """Get one accepted push to the nodes that hold its keys.  *payload* is ``Push.to_payload()``."""
    try:
        it = Push.from_payload(payload)
    except ValueError as error:
        _dead(payload, "malformed", str(error))
        return
    now_ms = _now_ms()
    if it.attempt == 0 and it.accepted_ms:
        metrics.QUEUE_SECONDS.observe(max(0, now_ms - it.accepted_ms) / 1000)
    if it.expired(now_ms):
        _finish(it, _all(it, Fate.EXPIRED))
        return
    try:
        with metrics.ATTEMPT_SECONDS.time():
            settlement = worker.courier().attempt(it)
    except StoreUnavailable as error:
        settlement = _all_left(it, str(error))
    except UnknownServer as error:
        log.error("unknown server: not sent", push_id=it.push_id, server=it.server)
        if error.retryable:
            settlement = _all_left(it, str(error))
        else:
            _dead(payload, "unknown_server", str(error))
            settlement = _all(it, Fate.FAILED)
    _follow_up(it, settlement)


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
    match retry.next_step(attempt, max_attempts=worker.settings().max_attempts, now_ms=_now_ms(), expires_ms=0):
        case retry.Again(delay_s):
            requeue.disconnect_again(app, keys, attempt + 1, delay_s)
            metrics.RETRIES.inc()
            log.warning("retrying a disconnect", keys=keys, delay_s=delay_s, attempt=attempt, reason=reason)
        case retry.GiveUp():
            _dead({"keys": keys}, "disconnect_failed", reason)


def _follow_up(it: Push, settlement: Settlement) -> None:
    """Put what is left on the queue again, or give it up by name; then count and log."""
    refused = [key for key, fate in settlement.fates.items() if fate is Fate.FAILED and key in settlement.reasons]
    if refused:
        _give_up(it.narrowed(refused, {}), "node_refused", settlement.reasons)
    fates = dict(settlement.fates)
    if settlement.left and not _is_probe(it):
        step = retry.next_step(
            it.attempt,
            max_attempts=worker.settings().max_attempts,
            now_ms=_now_ms(),
            expires_ms=it.expires_ms,
            patient=settlement.patient,
        )
        rest = it.narrowed(settlement.left, settlement.done)
        match step:
            case retry.Again(delay_s):
                requeue.again(app, rest, delay_s)
                metrics.RETRIES.inc()
                log.warning(
                    "retrying",
                    push_id=it.push_id,
                    delay_s=delay_s,
                    attempt=it.attempt,
                    reason=_some(settlement.reasons),
                )
            case retry.GiveUp(expired=True):
                fates |= {key: _last_fate(settlement, key, Fate.EXPIRED) for key in settlement.left}
            case retry.GiveUp():
                fates |= {key: _last_fate(settlement, key, Fate.FAILED) for key in settlement.left}
                _give_up(rest, "unreachable", settlement.reasons)
    _finish(it, Settlement(fates, settlement.left, {}, settlement.reasons, settlement.sessions))


def _last_fate(settlement: Settlement, key: str, otherwise: Fate) -> Fate:
    """What some nodes have is delivered, also where others could never be asked (the dead letter names those)."""
    return Fate.DELIVERED if settlement.done.get(key) else otherwise


def _finish(it: Push, settlement: Settlement) -> None:
    counts = Counter(fate.value for fate in settlement.fates.values())
    for fate, count in counts.items():
        metrics.FATES.labels(fate).inc(count)
    metrics.SESSIONS.inc(settlement.sessions)
    if _is_probe(it):
        return  # counted, not told: there is one every few seconds
    age_ms = _now_ms() - it.accepted_ms if it.accepted_ms else None
    log.info("dispatched", push_id=it.push_id, op=it.message.op, sessions=settlement.sessions, age_ms=age_ms, **counts)


def _give_up(it: Push, reason: str, reasons: Mapping[str, str]) -> None:
    _dead(it.to_payload(), reason, _some(reasons))


def _dead(payload: Mapping[str, Any], reason: str, details: str) -> None:
    requeue.dead_letter(app, payload, reason, details)
    metrics.DEAD_LETTERS.labels(reason).inc()
    log.error("dead letter", push_id=_id_of(payload), reason=reason, details=details)


def _all(it: Push, fate: Fate) -> Settlement:
    return Settlement(dict.fromkeys(it.keys, fate), (), {}, {}, 0)


def _all_left(it: Push, reason: str) -> Settlement:
    return Settlement({}, it.keys, it.done, dict.fromkeys(it.keys, reason), 0)


def _some(reasons: Mapping[str, str]) -> str:
    return "; ".join(sorted(set(reasons.values()))[:3])


def _id_of(payload: object) -> str:
    return str(payload.get("push_id", "")) if isinstance(payload, Mapping) else ""


def _is_probe(it: Push) -> bool:
    """Tell a node's data-path heartbeat, which is not tried again: the next one is under way already."""
    return it.keys[0].startswith(PROBE_PREFIX) if it.keys else False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
