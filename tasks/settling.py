"""What follows from an attempt: keys end by name, the rest is on its queue again, or is a dead letter with the reason.

In this order: the receipt (if there is one), the dead letter, the later attempt; only then is the task acknowledged.  A
worker that dies between two of them leaves the task with the broker, and the push is attempted once more: nodes drop
what they have had, a receipt takes the same step twice, a dead letter may be there twice.

A durable push is never a dead letter: it is in its inbox, where nodes find it by themselves, so it ends *offline*.  A
recorded push that the store takes no note of is left for a later attempt, however many that takes, until its time is
over: to end it would be to say nothing of its end.  Nothing else is tried for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from proto.errors import StoreUnavailable
from proto.message import Fate, Push
from tasks import metrics, record, requeue, retry, telling, worker
from tasks.celery import app
from tasks.dispatch import Settlement

_PATIENCE = 3  # attempts at an absent store are counted up to here, where delays are the longest

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt goes on: keys that end, those for *later*, and *dead*: those of dead letters, by their reason."""

    fates: Mapping[str, Fate]
    later: Push | None = None
    delay_s: int = 0
    dead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def settle(ended: Sequence[tuple[Push, Settlement]]) -> None:
    """Note how each push stands, put what is left on its queue again or give it up by name; then count and tell."""
    now_ms, most = worker.now_ms(), worker.settings().max_attempts
    verdicts = [decide(it, settlement, max_attempts=most, now_ms=now_ms) for it, settlement in ended]
    if any(it.recorded for it, _ in ended):
        verdicts = _noted(ended, verdicts)
    for (it, settlement), verdict in zip(ended, verdicts, strict=True):
        for reason, keys in verdict.dead.items():
            rest = it.narrowed(keys, {key: nodes for key, nodes in settlement.done.items() if key in keys})
            bury(rest.to_payload(), reason, telling.some([settlement.reasons.get(key, "") for key in keys]))
    _again(ended, verdicts)
    telling.tell(
        [(it, verdict.fates, settlement.sessions) for (it, settlement), verdict in zip(ended, verdicts, strict=True)]
    )


def decide(it: Push, settlement: Settlement, *, max_attempts: int, now_ms: int) -> Verdict:
    """Say how each key of *it* ends, or goes on.  Pure."""
    if not settlement.left and not it.durable and Fate.FAILED not in settlement.fates.values():
        return Verdict(settlement.fates)
    failed = tuple(key for key, fate in settlement.fates.items() if fate is Fate.FAILED)
    dead = {settlement.blame: failed} if failed else {}
    fates = dict(settlement.fates)
    later, delay_s = None, 0
    if settlement.left and not telling.is_probe(it):
        endless = it.recorded and settlement.away
        step = retry.next_step(
            it.attempt,
            max_attempts=None if endless else max_attempts,
            now_ms=now_ms,
            expires_ms=it.expires_ms,
            patient=settlement.patient,
        )
        match step:
            case retry.Again(delay_s=delay_s):
                later = _later(it, settlement.left, settlement.done, endless=endless)
            case retry.GiveUp(expired=True):
                # A durable push is to be had until the very end of its time.
                fate = Fate.OFFLINE if it.durable and not it.expired(now_ms) else Fate.EXPIRED
                fates |= {key: _last_fate(settlement, key, fate) for key in settlement.left}
            case retry.GiveUp():
                fates |= {key: _last_fate(settlement, key, Fate.FAILED) for key in settlement.left}
                dead |= {"unreachable": settlement.left}
    if it.durable:
        stored = (Fate.FAILED, Fate.SLOW)  # a session that was closed for being slow comes back to what is stored
        fates = {key: Fate.OFFLINE if fate in stored else fate for key, fate in fates.items()}
        dead = {}
    return Verdict(fates, later, delay_s, dead)


def postponed(it: Push, settlement: Settlement, verdict: Verdict, *, now_ms: int) -> Verdict:
    """Leave all that the receipt was to learn for a later attempt; once that would be too late, let it end.  Pure."""
    step = retry.next_step(it.attempt, max_attempts=None, now_ms=now_ms, expires_ms=it.expires_ms)
    if not isinstance(step, retry.Again):
        return verdict
    unsaid = [key for key, fate in verdict.fates.items() if fate in record.ENDS]
    keys = [key for key in it.keys if key in unsaid or (verdict.later is not None and key in verdict.later.keys)]
    done = {key: settlement.done.get(key, ()) for key in keys}
    fates = {key: fate for key, fate in verdict.fates.items() if key not in unsaid}
    return Verdict(fates, _later(it, keys, done, endless=True), step.delay_s)


def bury(payload: Mapping[str, Any], reason: str, details: str) -> None:
    """Keep *payload* among the dead letters, counted and logged."""
    requeue.dead_letter(app, payload, reason, details)
    metrics.DEAD_LETTERS.labels(reason).inc()
    push_id = str(payload.get("push_id", "")) if isinstance(payload, Mapping) else ""
    log.error("dead letter", push_id=push_id, reason=reason, details=details)


def _noted(ended: Sequence[tuple[Push, Settlement]], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Write into the receipts how keys ended; what they are not told is left for a later attempt."""
    now_ms = worker.now_ms()
    said = [
        record.steps(it, verdict.fates, settlement.reasons, now_ms) if it.recorded else []
        for (it, settlement), verdict in zip(ended, verdicts, strict=True)
    ]
    if not any(said):
        return list(verdicts)
    try:
        worker.record().settle([(it, steps) for (it, _), steps in zip(ended, said, strict=True)])
    except StoreUnavailable as error:
        for (it, _), steps in zip(ended, said, strict=True):
            if steps:
                log.warning("the receipt waits for the store", push_id=it.push_id, reason=str(error))
        return [
            postponed(it, settlement, verdict, now_ms=now_ms) if steps else verdict
            for (it, settlement), verdict, steps in zip(ended, verdicts, said, strict=True)
        ]
    return list(verdicts)


def _again(ended: Sequence[tuple[Push, Settlement]], verdicts: Sequence[Verdict]) -> None:
    """Put what is left on its queues again, all together."""
    left = [
        (it, settlement, verdict.later, verdict.delay_s)
        for (it, settlement), verdict in zip(ended, verdicts, strict=True)
        if verdict.later is not None
    ]
    if not left:
        return
    requeue.again(app, [(later, delay_s) for _, _, later, delay_s in left])
    metrics.RETRIES.inc(len(left))
    for it, settlement, _, delay_s in left:
        reason = telling.some(settlement.reasons.values())
        log.warning("retrying", push_id=it.push_id, delay_s=delay_s, attempt=it.attempt, reason=reason)


def _later(it: Push, keys: Sequence[str], done: Mapping[str, tuple[str, ...]], *, endless: bool) -> Push:
    rest = it.narrowed(keys, done)
    # What waits for the store keeps attempts for the nodes.
    return replace(rest, attempt=max(it.attempt, min(rest.attempt, _PATIENCE))) if endless else rest


def _last_fate(settlement: Settlement, key: str, otherwise: Fate) -> Fate:
    """What some nodes have is delivered, also where others could never be asked (the dead letter names those)."""
    return Fate.DELIVERED if settlement.done.get(key) else otherwise
