"""Who may ask a node that did not answer, and how many threads may wait for nodes that are slow.

A node that let a deadline pass is *suspect* for a moment: calls to it fail at once.  Then one call, and no second one,
finds out how it is while the others go on failing, until that call has its answer or its deadline is over.

A node that is merely slow is not suspect yet, and could hold every thread of a worker until it is.  So all slow nodes
together may hold half of them: who comes later is told at once that others wait already.  Threads that were there
before anyone knew that the node is slow ask again (:meth:`Shares.over`), and those beyond the half leave.

Refuses to know what a call is.  Threads: a lock guards each table, and is held for a look or a change only.
"""

import threading
import time
from collections.abc import Callable, Collection

_SUSPECT_S = 1.0

Slow = Callable[[str], bool]


class Doubts:
    """The suspect addresses."""

    def __init__(self, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s = deadline_s
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def may_ask(self, address: str) -> bool:
        """Tell whether to ask it now; a True after a suspicion is given once, until that call is over."""
        if address not in self._until:  # nearly always
            return True
        with self._lock:
            until = self._until.get(address)
            if until is None:
                return True
            now = self._clock()
            if until > now:
                return False
            self._until[address] = now + self._deadline_s
            return True

    def late(self, address: str) -> None:
        """It let a deadline pass."""
        with self._lock:
            self._until[address] = self._clock() + _SUSPECT_S

    def told(self, address: str) -> None:
        """It answered, or its host said that nobody is there: nobody waits for it."""
        if address in self._until:
            with self._lock:
                self._until.pop(address, None)


class Shares:
    """Which calls wait for which addresses, oldest first."""

    def __init__(self, threads: int) -> None:
        self._most = max(1, threads // 2)
        self._lock = threading.Lock()
        self._waiting: dict[object, Collection[str]] = {}

    def full(self, slow: Slow) -> bool:
        """Tell whether slow nodes hold their half of the threads."""
        return self._held(slow, None) >= self._most

    def over(self, call: object, slow: Slow) -> bool:
        """Tell whether as many calls as may wait for slow nodes came before this one."""
        return self._held(slow, call) >= self._most

    def enter(self, call: object, addresses: Collection[str]) -> None:
        """A call begins to wait."""
        with self._lock:
            self._waiting[call] = addresses

    def leave(self, call: object) -> None:
        """It waits no more."""
        with self._lock:
            self._waiting.pop(call, None)

    def _held(self, slow: Slow, before: object | None) -> int:
        with self._lock:
            waiting = list(self._waiting.items())
        held = 0
        for call, addresses in waiting:
            if call is before:
                break
            held += any(map(slow, addresses))
        return held
