"""Waiting in a request thread, with few looks, a deadline, and a bound on how many do it at a time.

Refuses to keep a process from ending: who waits then gets what there is.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from app.errors import TooManyWaiting

_FIRST_PAUSE_S = 0.02
_LAST_PAUSE_S = 0.2
_GROWTH = 1.5

Seen = TypeVar("Seen")


class Waiters:
    """At most *most* requests at a time; *stopping* ends their waits."""

    def __init__(self, most: int, stopping: threading.Event) -> None:
        self._most = most
        self._stopping = stopping
        self._lock = threading.Lock()
        self._now = 0

    @property
    def now(self) -> int:
        """How many wait."""
        return self._now

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Hold one of the places; raises TooManyWaiting at once when all are taken."""
        with self._lock:
            if self._now >= self._most:
                raise TooManyWaiting(f"{self._most} requests wait already")
            self._now += 1
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def until(self, look: Callable[[], Seen], settled: Callable[[Seen], bool], timeout_s: float) -> Seen:
        """Look until it is settled or *timeout_s* is over, more and more seldom; gives what was seen last."""
        ends, pause = time.monotonic() + timeout_s, _FIRST_PAUSE_S
        while True:
            seen = look()
            left = ends - time.monotonic()
            if settled(seen) or left <= 0 or self._stopping.wait(min(pause, left)):
                return seen
            pause = min(pause * _GROWTH, _LAST_PAUSE_S)
