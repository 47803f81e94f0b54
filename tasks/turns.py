"""Who computes now: of a worker's threads one at a time, and of those that wait for that, the most urgent first.

Python lets one thread compute at a time anyhow, but not in an order of ours: with seven threads at work on bulk, the
thread that reads from the broker, and one that has a push of high priority, stand in line behind all of them again and
again, each time that they have waited for a socket.  So a thread takes a *turn* while it computes, and gives it up
while it waits for the store, a node or the broker (:func:`away`).  Pushes of high priority have a turn of their own.
What is left to fight over is a handful of threads, whatever the load, and ``_SWITCH_S`` of tasks/worker.py is how long
one of them may keep the others waiting.

Threads: a turn is given straight to the next thread in line, so nobody who comes later gets in between.  Each waits on
a lock of its own.  A turn is a matter of speed alone: nothing is guarded by it.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from proto.queues import Priority


class Turn:
    """What one thread has, and others wait for by *rank*, 0 first."""

    def __init__(self, ranks: int) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._line: tuple[deque[threading.Lock], ...] = tuple(deque() for _ in range(ranks))

    def take(self, rank: int) -> None:
        """Wait for the turn."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._line[rank].append(mine)
        mine.acquire()  # until it is given to this thread; who has it never waits with it, and always gives it

    def give(self) -> None:
        """Give it to the next in line."""
        with self._lock:
            for line in self._line:
                if line:
                    line.popleft().release()
                    return
            self._taken = False


_HIGH, _OTHERS = Turn(1), Turn(2)
_TURNS = {Priority.HIGH: (_HIGH, 0), Priority.NORMAL: (_OTHERS, 0), Priority.BULK: (_OTHERS, 1)}
_mine = threading.local()


@contextmanager
def turn(priority: Priority) -> Iterator[None]:
    """Have the turn for what is done inside, but for what is done :func:`away`."""
    its, rank = _mine.turn = _TURNS[priority]
    its.take(rank)
    try:
        yield
    finally:
        del _mine.turn
        its.give()


@contextmanager
def away() -> Iterator[None]:
    """Let others have this thread's turn, if it has one, while it waits inside."""
    held = getattr(_mine, "turn", None)
    if held is None:
        yield
        return
    its, rank = held
    its.give()
    try:
        yield
    finally:
        its.take(rank)
