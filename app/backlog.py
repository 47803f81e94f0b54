"""Is there room for one more push, by priority: decided at each look at the queues, from their depth and their age.

Each priority has its own queue with its own bounds; a queue that is past one of them refuses its own pushes and those
of every lower priority, so bulk gives way first, then normal, high last.  A refusal ends when its queue is back below
four fifths of both bounds: so that it does not change at each look.

The age of a queue is how long its oldest task waits.  No broker tells, so it is the less of two things that are known:
how long the queue was never seen empty, and what workers said when they last took something (store/ages.py), plus the
time since.  Either alone may be far too much: a queue that is never empty may be quick, and the last word of a worker
may be an hour old.  While the store knows of no word at all, nobody takes anything, and the first of the two counts,
from when that was first seen: a store that was emptied knows none for a second.

What cannot be seen refuses nothing: not the depth, nor the age, nor both.  What is seen holds until the next look, so
a queue goes past its bound by what arrives between two.

Threads: one calls :meth:`Backlog.look` (app/backlog_watch.py); requests call :meth:`Backlog.check`, which reads one
mapping that is replaced whole.  Refuses to do I/O, and to read a clock.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from app.errors import Overloaded
from proto.queues import Priority
from store.ages import Taken

LONGEST_RETRY_S = 30
NEVER = Taken(0.0, math.inf)  # no worker has said anything
_RESUME = 0.8  # of a bound
_WINDOW_S = 5.0  # over which a fall is measured

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a queue is full: more tasks than *tasks* wait in it, or the oldest longer than *age_s*."""

    tasks: int
    age_s: float


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    depth: int
    age_s: float | None


class Queue:
    """One queue as it was seen lately; pure."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._empty_at_s = -math.inf
        self._silent_since_s: float | None = None
        self._looks: deque[_Look] = deque()
        self._last: _Look | None = None  # of its own, since /metrics reads it on other threads
        self._full_since_s: float | None = None

    @property
    def depth(self) -> int | None:
        """Tasks that waited at the last look; None: unseen."""
        return None if (last := self._last) is None else last.depth

    @property
    def age_s(self) -> float | None:
        """How long the oldest had waited at the last look; None: unseen."""
        return None if (last := self._last) is None else last.age_s

    @property
    def full(self) -> bool:
        """Whether it is past a bound, or was and is not yet well below."""
        return self._full_since_s is not None

    def look(self, now_s: float, depth: int, taken: Taken | None) -> None:
        """Take what was seen at *now_s*, a monotonic time; *taken* is None where the store does not tell."""
        if depth == 0:
            self._empty_at_s = now_s
        last = self._last = _Look(now_s, depth, self._age(now_s, taken) if depth else 0.0)
        self._looks.append(last)
        while now_s - self._looks[0].at_s > _WINDOW_S:
            self._looks.popleft()
        share = _RESUME if self.full else 1.0
        if not self._past(last, share):
            self._full_since_s = None
        elif not self.full:
            self._full_since_s = now_s

    def lose_sight(self) -> None:
        """Nothing is known any more, also not since when it is not empty."""
        self._empty_at_s, self._silent_since_s = -math.inf, None
        self._full_since_s, self._last = None, None
        self._looks.clear()

    def retry_after_s(self) -> int:
        """Say in how many seconds it has room at the pace at which it falls, 1 to LONGEST_RETRY_S.

        While it does not fall nobody knows: then, as long again as it has been full.
        """
        if self._full_since_s is None:
            return 1
        first, last = self._looks[0], self._looks[-1]
        passed_s = last.at_s - first.at_s
        falls = [_time_until(first.depth, last.depth, _RESUME * self._bound.tasks, passed_s)]
        if first.age_s is not None and last.age_s is not None:
            falls.append(_time_until(first.age_s, last.age_s, _RESUME * self._bound.age_s, passed_s))
        needed_s = max(falls)
        if math.isinf(needed_s):
            needed_s = last.at_s - self._full_since_s
        return max(1, min(LONGEST_RETRY_S, math.ceil(needed_s)))

    def _age(self, now_s: float, taken: Taken | None) -> float | None:
        if taken is not NEVER:
            self._silent_since_s = None
        elif self._silent_since_s is None:
            self._silent_since_s = now_s
        if taken is None:
            return None
        not_empty_s = now_s - self._empty_at_s
        if self._silent_since_s is not None:
            return min(now_s - self._silent_since_s, not_empty_s)
        return min(taken.age_s + taken.ago_s, not_empty_s)

    def _past(self, last: _Look, share: float) -> bool:
        return last.depth > share * self._bound.tasks or (
            last.age_s is not None and last.age_s > share * self._bound.age_s
        )


def _time_until(first: float, last: float, goal: float, passed_s: float) -> float:
    """Say when a number that went from *first* to *last* in *passed_s* seconds is at *goal*; inf: not at this pace."""
    if last <= goal:
        return 0.0
    if last >= first or passed_s <= 0:
        return math.inf
    return (last - goal) * passed_s / (first - last)


@dataclass(slots=True)
class Backlog:
    """All queues together.  *refused* is called for each refusal, with the priority."""

    bounds: Mapping[Priority, Bound]
    refused: Callable[[Priority], None] = lambda _: None
    queues: dict[Priority, Queue] = field(init=False)
    _waits_s: Mapping[Priority, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.queues = {priority: Queue(self.bounds[priority]) for priority in Priority}

    def check(self, priority: Priority) -> None:
        """Raise Overloaded if a push of *priority* finds no room, as of the last look."""
        wait_s = self._waits_s.get(priority)
        if wait_s is not None:
            self.refused(priority)
            raise Overloaded(priority, wait_s)

    def look(self, now_s: float, depths: Mapping[Priority, int] | None, taken: Mapping[Priority, Taken] | None) -> None:
        """Take what was seen at *now_s*; None where nothing could be."""
        for priority, queue in self.queues.items():
            if depths is None:
                queue.lose_sight()
            else:
                queue.look(now_s, depths[priority], None if taken is None else taken.get(priority, NEVER))
        self._decide()

    def _decide(self) -> None:
        waits_s: dict[Priority, int] = {}
        longest_s = 0
        for priority in Priority:  # from high to bulk
            if (queue := self.queues[priority]).full:
                longest_s = max(longest_s, queue.retry_after_s())
            if longest_s:
                waits_s[priority] = longest_s
        for priority in waits_s.keys() - self._waits_s.keys():
            queue = self.queues[priority]
            log.warning("overloaded", priority=priority.value, depth=queue.depth, age_s=queue.age_s)
        for priority in self._waits_s.keys() - waits_s.keys():
            log.info("room_again", priority=priority.value)
        self._waits_s = waits_s
