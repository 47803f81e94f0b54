"""A store that did not answer is suspect: it is not asked for a moment, and then by one thread at first.

Each thread that waits for a store that hangs keeps waiting those pushes that need no store, and the probes.  Threads:
all of a worker's share one :class:`Suspicion`, which is one number.  Two that see the moment end at once both ask; that
costs one wait more.
"""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from proto.errors import StoreUnavailable
from tasks import turns

P = ParamSpec("P")
T = TypeVar("T")

_SUSPECT_S = 1.0


class Suspicion:
    """Stands between a worker's threads and the store."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._away_until = 0.0  # 0: it answered last

    def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the store, or raise StoreUnavailable at once while it did not answer a moment ago."""
        if self._away_until:
            if self._clock() < self._away_until:
                raise StoreUnavailable("the store did not answer a moment ago")
            self._away_until = self._clock() + _SUSPECT_S  # this thread finds out; the others need not wait
        try:
            with turns.away():
                answer = question(*args, **kwargs)
        except StoreUnavailable:
            self._away_until = self._clock() + _SUSPECT_S
            raise
        self._away_until = 0.0
        return answer
