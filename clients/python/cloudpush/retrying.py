"""When a call is tried again, and until when.  Pure, but for the clock and the dice that it is given.

Waits grow and are jittered, so that many callers that were turned away together do not come back together; a server's
Retry-After is the least wait.  Nothing is tried that could only end after the deadline.
"""

from collections.abc import Callable, Mapping

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
_SPREAD_AFTER = 0.25  # how much longer than Retry-After a wait may be, as a share of it


class Attempts:
    """The attempts of one call, all of which end within *patience_s* seconds of the first."""

    def __init__(self, patience_s: float, clock: Callable[[], float], dice: Callable[[], float]) -> None:
        self._clock = clock
        self._dice = dice
        self._until = clock() + patience_s
        self._wait_s = FIRST_WAIT_S
        self.count = 1

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; never below zero."""
        return max(0.0, self._until - self._clock())

    def next_wait_s(self, retry_after_s: float | None = None) -> float | None:
        """Say how long to wait before the next attempt; None when that would be after the deadline."""
        wait_s = self._wait_s * (0.5 + 0.5 * self._dice())
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
        if retry_after_s is not None:
            wait_s = max(wait_s, retry_after_s * (1 + _SPREAD_AFTER * self._dice()))
        if wait_s >= self.left_s:
            return None
        self.count += 1
        return wait_s


class Backoff:
    """How long a session waits before it connects again: *min_s* × *factor*ⁿ up to *max_s*, a share of it random."""

    def __init__(
        self,
        dice: Callable[[], float],
        *,
        min_s: float = 0.5,
        max_s: float = 10.0,
        factor: float = 2.0,
        jitter: float = 0.5,
    ) -> None:
        self._dice = dice
        self._min_s, self._max_s, self._factor, self._jitter = min_s, max_s, factor, jitter
        self._wait_s = min_s

    def learn(self, told: Mapping[str, float]) -> None:
        """Wait as the server says from now on: ``min_ms``, ``max_ms``, ``factor``, ``jitter``, as far as given."""
        self._min_s = told.get("min_ms", self._min_s * 1000) / 1000
        self._max_s = told.get("max_ms", self._max_s * 1000) / 1000
        self._factor = told.get("factor", self._factor)
        self._jitter = told.get("jitter", self._jitter)
        self._wait_s = min(max(self._wait_s, self._min_s), self._max_s)

    def next_s(self) -> float:
        """Give the next wait."""
        wait_s = self._wait_s
        self._wait_s = min(self._wait_s * self._factor, self._max_s)
        return wait_s * (1 + self._jitter * (2 * self._dice() - 1))

    def reset(self) -> None:
        """Begin anew with the shortest wait: a connection came about."""
        self._wait_s = self._min_s
