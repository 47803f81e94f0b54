"""One timer for all heartbeats: a wheel of slots, each with what is due then.

A greenlet, or a timer in the hub, for each session's next ping would cost more than the session.  Here setting,
moving and cancelling a deadline are two set operations, and one greenlet looks at one slot each tick.  A deadline is
late by up to two ticks, never early.  Refuses to know what it is for.
"""

import math
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger()

NEVER = -1
_LOOK_UP = 1000  # things due between two pauses


class Timed(Protocol):
    """Something with at most one deadline.  *slot*, the tick of it, belongs to the wheel; it begins as NEVER."""

    slot: int

    def due(self) -> None:
        """Its time has come."""


_Slot = dict[Timed, None]  # in the order in which they were set


class Wheel:
    """Deadlines up to *horizon_s* ahead.  *after* is called when all that was due at one time has been told."""

    def __init__(
        self, tick_s: float, horizon_s: float, after: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tick_s = tick_s
        self._clock = clock
        self._after = after
        self._slots: list[_Slot] = [{} for _ in range(math.ceil(horizon_s / tick_s) + 2)]
        self._now = self._ticks()  # the last tick whose slot was looked at

    def set(self, timed: Timed, in_s: float) -> None:
        """Give *timed* its deadline, in place of the one it had."""
        self.cancel(timed)
        ahead = math.ceil(in_s / self._tick_s) + 1
        if ahead > len(self._slots):
            raise ValueError(f"{in_s} s is beyond the wheel's horizon")
        # From the clock, not from the last look: a wheel that is behind must not make deadlines early.
        timed.slot = max(self._ticks() + ahead, self._now + 1)
        self._slot(timed.slot)[timed] = None

    def cancel(self, timed: Timed) -> None:
        """Take its deadline away, if it has one."""
        if timed.slot != NEVER:
            self._slot(timed.slot).pop(timed, None)
            timed.slot = NEVER

    def serve(self, sleep: Callable[[float], None]) -> None:
        """Tell what is due, for ever; a greenlet is kept by this."""
        while True:
            sleep(max(0.0, (self._now + 1) * self._tick_s - self._clock()))
            self.turn(sleep)

    def turn(self, sleep: Callable[[float], None]) -> None:
        """Tell what has become due since the last turn."""
        while self._now < self._ticks():
            # No further than one round: the slots of a longer pause have all been looked at by then.
            self._now = max(self._now + 1, self._ticks() - len(self._slots) + 1)
            number = self._now % len(self._slots)
            due, self._slots[number] = self._slots[number], {}
            for count, timed in enumerate(due, 1):
                if timed.slot > self._now:  # set since, or in this slot for a later round: the wheel is behind
                    self._slot(timed.slot)[timed] = None
                elif timed.slot != NEVER:
                    timed.slot = NEVER
                    _tell(timed.due)
                if count % _LOOK_UP == 0:
                    sleep(0)
            _tell(self._after)

    def _slot(self, tick: int) -> _Slot:
        return self._slots[tick % len(self._slots)]

    def _ticks(self) -> int:
        return int(self._clock() / self._tick_s)


def _tell(due: Callable[[], None]) -> None:
    try:
        due()
    except Exception as error:
        # The greenlet that serves the wheel must go on: without it nobody would be pinged again.
        log.exception("a deadline failed", reason=repr(error))
