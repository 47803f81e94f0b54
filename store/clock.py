"""The time by which pushes expire and become due: Redis' own, so that no clock of ours matters.

Each process remembers how far Redis' clock is ahead of its monotonic one, as of the last answer that told the time.
A wall clock that jumps, here or on another machine, so changes nothing.  Until Redis has answered once, the wall clock
has to do.
"""

import time
from collections.abc import Callable

import redis

from store.connection import answering


class StoreClock:
    """Tells Redis' time, to about a round trip.  Thread-safe: it is one number that is only ever overwritten."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._ahead_ms = wall() * 1000 - monotonic() * 1000

    def now_ms(self) -> int:
        """Unix time in ms."""
        return int(self._monotonic() * 1000 + self._ahead_ms)

    def learn(self, seconds: int, micros: int) -> int:
        """Take the answer of a TIME command that has just come; gives it in ms."""
        now_ms = seconds * 1000 + micros // 1000
        self._ahead_ms = now_ms - self._monotonic() * 1000
        return now_ms

    def ask(self, client: redis.Redis) -> None:
        """Ask Redis for the time; raises StoreUnavailable.  Also shows that it answers."""
        with answering():
            self.learn(*client.time())
