"""Bulk gives way: while anything more urgent has come lately, it takes no more than half of the time.

Queues and threads of their own let urgent pushes overtake bulk where both wait.  They do not help against a machine
that bulk keeps busy to the last: then each step of an urgent push, in each process on its way, waits for a core.  So
who works on bulk rests as long as it has worked, one after the other; an urgent push comes along at most every few
milliseconds, so to let it pass costs bulk half of its rate while there are some, and nothing while there are none.

Used by both tiers that read pushes: a worker for tasks, the logic tier for batches.  Refuses to know what bulk does.

Threads: any may call anything.  Only one at a time works on bulk while others are urgent; who has waited for its turn
for long goes on without it, since the one before it may be waiting for a slow node.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proto.queues import Priority

LATELY_S = 0.25
LONGEST_REST_S = 0.05
_PATIENCE_S = 0.25


class Courtesy:
    """One for a process."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._urgent_at = float("-inf")
        self._one_at_a_time = threading.Lock()
        self._resting = threading.Lock()

    def note(self, priority: Priority) -> None:
        """Say that a push of this priority came."""
        if priority is not Priority.BULK:
            self._urgent_at = self._clock()

    @property
    def due(self) -> bool:
        """Whether something urgent came lately."""
        return self._clock() - self._urgent_at < LATELY_S

    def rest(self, worked_s: float) -> None:
        """Rest for as long as the caller has worked on bulk, if that is due; one rests at a time, so rests add up."""
        if self.due:
            with self._resting:
                self._sleep(min(worked_s, LONGEST_REST_S))

    @contextmanager
    def working(self, priority: Priority) -> Iterator[None]:
        """Note what came; bulk takes its turn, and rests afterwards."""
        self.note(priority)
        if priority is not Priority.BULK or not self.due:
            yield
            return
        mine = self._one_at_a_time.acquire(timeout=_PATIENCE_S)
        began = self._clock()
        try:
            yield
        finally:
            if mine:
                self.rest(self._clock() - began)
                self._one_at_a_time.release()
