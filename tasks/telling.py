"""What is counted and logged of pushes that have ended, or go on: by the task where that says as much.

A task of one push is told as that push.  Of a task of many there is one line; a push has a line of its own, before it,
where it is on record (so it can be followed), or ended as nobody would expect.  Pushes that found no session, or none
that wanted them, are named in the task's line.  Refuses to log bodies.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import structlog

from proto.keys import PROBE_PREFIX
from proto.message import Fate, Push
from tasks import metrics, worker

_ARRIVED = frozenset({Fate.DELIVERED, Fate.QUEUED})
_MISSED = frozenset({Fate.OFFLINE, Fate.FILTERED})
_AS_USUAL = _ARRIVED | _MISSED

Ended = tuple[Push, Mapping[str, Fate], int]  # a push, how keys of it ended, and the number of hand-overs

log = structlog.get_logger()


def tell(ended: Sequence[Ended]) -> None:
    """Count how the pushes of a task ended, and log it."""
    counts = Counter([fate for _, fates, _ in ended for fate in fates.values()])
    for fate, count in counts.items():
        metrics.FATES.labels(fate.value).inc(count)
    metrics.SESSIONS.inc(sum([sessions for _, _, sessions in ended]))
    told = [one for one in ended if not is_probe(one[0])]  # counted, not told: there is one every few seconds
    if len(told) == 1:
        _tell_push(*told[0])
    elif told:
        _tell_task(told)


def is_probe(it: Push) -> bool:
    """Tell a node's data-path heartbeat, which is not tried again: the next one is under way already."""
    return it.keys[0].startswith(PROBE_PREFIX)


def some(reasons: Iterable[str]) -> str:
    """Put a few different reasons into one text."""
    return "; ".join(sorted({reason for reason in reasons if reason})[:3])


def _tell_push(it: Push, fates: Mapping[str, Fate], sessions: int) -> None:
    counts = Counter([fate.value for fate in fates.values()])
    log.info("dispatched", push_id=it.push_id, op=it.message.op, sessions=sessions, age_ms=_age_ms([it]), **counts)


def _tell_task(told: Sequence[Ended]) -> None:
    missed: dict[str, list[str]] = {}
    for it, fates, sessions in told:
        ends = fates.values()
        if it.recorded or not _AS_USUAL.issuperset(ends):
            _tell_push(it, fates, sessions)
        else:
            for fate in _MISSED.intersection(ends):
                missed.setdefault(fate.value, []).append(it.push_id)
    log.info(
        "dispatched",
        pushes=len(told),
        sessions=sum([sessions for _, _, sessions in told]),
        age_ms=_age_ms([it for it, _, _ in told]),
        **Counter([fate.value for _, fates, _ in told for fate in fates.values()]),
        **{f"{fate}_pushes": push_ids for fate, push_ids in missed.items()},
    )


def _age_ms(pushes: Iterable[Push]) -> int | None:
    """Give how long ago the oldest of *pushes* was due; None where none says when that was."""
    due = [max(it.accepted_ms, it.not_before_ms) for it in pushes]
    known = [due_ms for due_ms in due if due_ms]
    return worker.now_ms() - min(known) if known else None
