"""Which nodes are alive, remembered between look-ups of keys.

What was read of the leases is used again, without reading them, while all of this holds:

- the registry's version is what it was: nobody registered, retired, was buried or unsettled the store;
- no lease that ran when it was read has run out since, by Redis' time: its node may have renewed it;
- it is younger than a second: a node of an older release changes no version.

Renewals change no version: a lease that is longer than what was read makes no difference until that runs out.

The order of the questions matters.  A look-up reads keys first and the version last, so a node that registers in
between, and then puts keys, is not missed: its version came before its keys.  Where the leases are read, the version
is read before them: had it changed in between, the next look-up reads them again.

Threads: a worker's share one table, which is one reference to a frozen snapshot.  Two threads that read at the same
time both put theirs; the older of the two may stay, and its version or its age gives it away.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from store.registry import Leases, Registry

_KEPT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was written in the registry, under *version*; *until_ms*: when the first of the live leases ends."""

    version: str | None
    written: Sequence[tuple[str, float]]
    born: str | None
    until_ms: float
    read_at: float
    leases: Leases


class NodeTable:
    """Asks the registry as seldom as may be.  Thread-safe."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._known: _Snapshot | None = None

    def ask(self, pipe: "redis.client.Pipeline", *, anew: bool = False) -> bool:
        """Queue what has to be asked, after everything else in *pipe*.

        True: all is asked, *anew* or since too little is known, and the answers are for :meth:`learn`; else they are
        for :meth:`still`.
        """
        known = self._known
        anew = anew or known is None or self._clock() - known.read_at >= _KEPT_S
        pipe.time()
        self._registry.ask_version(pipe)
        if anew:
            self._registry.ask_leases(pipe)
        return anew

    def still(self, answers: Sequence[Any]) -> Leases | None:
        """Give the leases by what is known, as of *answers*; None where they have to be asked for anew."""
        known, now_ms, version = self._known, self._registry.now_ms(answers[0]), answers[1]
        if known is None or version != known.version or now_ms >= known.until_ms:
            return None
        if known.leases.settled:  # it would take an unsettling, or a lease that runs out, to change that
            return known.leases
        return self._registry.at(now_ms, known.written, known.born)

    def learn(self, answers: Sequence[Any]) -> Leases:
        """Give the leases as they were read, and remember them."""
        time, version, written, born = answers
        leases = self._registry.at(self._registry.now_ms(time), written, born)
        running = [ends for node, ends in written if node in leases.live]
        self._known = _Snapshot(version, written, born, min(running, default=float("inf")), self._clock(), leases)
        return leases
