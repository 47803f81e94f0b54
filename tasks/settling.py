"""What follows from an attempt: keys end by name, the rest is on its queue again, or is a dead letter with the reason.

In this order: the receipt (if there is one), the dead letter, the later attempt; only then is the task acknowledged.  A
worker that dies between two of them leaves the task with the broker, and the push is attempted once more: nodes drop
what they have had, a receipt takes the same step twice, a dead letter may be there twice.

A durable push is never a dead letter: it is in its inbox, where nodes find it by themselves, so it ends *offline*.  A
recorded push that the store takes no note of is left for a later attempt, however many that takes, until its time is
over: to end it would be to say nothing of its end.  Nothing else is tried for ever.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from proto.errors import StoreUnavailable
from proto.keys import PROBE_PREFIX
from proto.message import Fate, Push
from tasks import metrics, record, requeue, retry, worker
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


def settle(it: Push, settlement: Settlement) -> None:
    """Note how *it* stands, put what is left on the queue again or give it up by name; then count and log."""
    verdict = decide(it, settlement, max_attempts=worker.settings().max_attempts, now_ms=worker.now_ms())
    if it.recorded:
        verdict = _noted(it, settlement, verdict)
    for reason, keys in verdict.dead.items():
        rest = it.narrowed(keys, {key: nodes for key, nodes in settlement.done.items() if key in keys})
        bury(rest.to_payload(), reason, _some({key: settlement.reasons.get(key, "") for key in keys}))
    if verdict.later is not None:
        requeue.again(app, verdict.later, verdict.delay_s)
        metrics.RETRIES.inc()
        log.warning(
            "retrying",
            push_id=it.push_id,
            delay_s=verdict.delay_s,
            attempt=it.attempt,
            reason=_some(settlement.reasons),
        )
    _count(it, verdict.fates, settlement.sessions)


def decide(it: Push, settlement: Settlement, *, max_attempts: int, now_ms: int) -> Verdict:
    """Say how each key of *it* ends, or goes on.  Pure."""
    failed = tuple(key for key, fate in settlement.fates.items() if fate is Fate.FAILED)
    dead = {settlement.blame: failed} if failed else {}
    fates = dict(settlement.fates)
    later, delay_s = None, 0
    if settlement.left and not _is_probe(it):
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


def _noted(it: Push, settlement: Settlement, verdict: Verdict) -> Verdict:
    """Write into the receipt how keys ended."""
    now_ms = worker.now_ms()
    try:
        worker.record().settle(it, record.steps(it, verdict.fates, settlement.reasons, now_ms))
    except StoreUnavailable as error:
        log.warning("the receipt waits for the store", push_id=it.push_id, reason=str(error))
        return postponed(it, settlement, verdict, now_ms=now_ms)
    return verdict


def _later(it: Push, keys: Sequence[str], done: Mapping[str, tuple[str, ...]], *, endless: bool) -> Push:
    rest = it.narrowed(keys, done)
    # What waits for the store keeps attempts for the nodes.
    return replace(rest, attempt=max(it.attempt, min(rest.attempt, _PATIENCE))) if endless else rest


def _last_fate(settlement: Settlement, key: str, otherwise: Fate) -> Fate:
    """What some nodes have is delivered, also where others could never be asked (the dead letter names those)."""
    return Fate.DELIVERED if settlement.done.get(key) else otherwise


def _count(it: Push, fates: Mapping[str, Fate], sessions: int) -> None:
    counts = Counter(fate.value for fate in fates.values())
    for fate, count in counts.items():
        metrics.FATES.labels(fate).inc(count)
    metrics.SESSIONS.inc(sessions)
    if _is_probe(it):
        return  # counted, not told: there is one every few seconds
    due_ms = max(it.accepted_ms, it.not_before_ms)
    age_ms = worker.now_ms() - due_ms if due_ms else None
    log.info("dispatched", push_id=it.push_id, op=it.message.op, sessions=sessions, age_ms=age_ms, **counts)


def _some(reasons: Mapping[str, str]) -> str:
    return "; ".join(sorted({reason for reason in reasons.values() if reason})[:3])


def _is_probe(it: Push) -> bool:
    """Tell a node's data-path heartbeat, which is not tried again: the next one is under way already."""
    return it.keys[0].startswith(PROBE_PREFIX) if it.keys else False
