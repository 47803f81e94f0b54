"""A load with faults on it, from the first push to the account after the last has arrived.

Refuses to call anything lost before *settle_s* have passed in which nothing is broken any more.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.soak.account import Account, Totals, quantiles_ms
from tests.soak.callers import Callers
from tests.soak.crowd import Crowd
from tests.soak.faults import Injector
from tests.soak.schedule import Fault
from tests.soak.stand import Stand

_PROGRESS_S = 10.0
_TICK_S = 0.1
_REPAIRED_S = 90.0
_CONNECTED_S = 15.0


@dataclass
class Ran:
    """What one run came to."""

    totals: Totals
    faults: Counter[str]
    broken: list[str]
    settled_s: float
    latency_ms: tuple[float, float, float]
    examples: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, and every process was there at the end."""
        return self.totals.kept and not self.broken

    def __str__(self) -> str:
        p50, p99, longest = self.latency_ms
        lines = [f"{self.totals}", f"settled after {self.settled_s:.1f} s; handled after the 202, ms: p50 {p50:.0f}, "
                 f"p99 {p99:.0f}, longest {longest:.0f}"]  # fmt: skip
        return "; ".join([*lines, *self.broken, *self.examples])


@dataclass
class Rig:
    """What a run needs; *settle_s* bounds the wait for what is owed after the load."""

    stand: Stand
    crowd: Crowd
    callers: Callers
    account: Account
    settle_s: float = 60.0
    say: Callable[[str], None] = print

    def run(self, seconds: float, faults: Sequence[Fault]) -> Ran:
        """Push for *seconds* while *faults* happen; gives the account of this run alone."""
        before, seen, shown = self.account.totals(), len(self.account.latencies_s), len(self.account.examples)
        injector = Injector(self.stand, self.crowd)
        with self.callers.pushing(), self.crowd.churning():
            self._follow(seconds, faults, injector)
            injector.wait(_REPAIRED_S)
        began = time.monotonic()
        came = self.crowd.until_all_has_come(self.settle_s)
        away = self.crowd.away(_CONNECTED_S)
        ran = Ran(
            totals=self.account.totals() - before,
            faults=Counter(fault.kind for fault in injector.begun),
            broken=[*injector.broken, *self.stand.ended, *away],
            settled_s=time.monotonic() - began,
            latency_ms=quantiles_ms(self.account.latencies_s[seen:]),
            examples=self.account.examples[shown:],
        )
        if not came:
            ran.examples += self.account.lacking()[:10]
        return ran

    def _follow(self, seconds: float, faults: Sequence[Fault], injector: Injector) -> None:
        began = time.monotonic()
        ahead = sorted(faults, key=lambda fault: fault.at_s)
        said, names = _PROGRESS_S, list[str]()
        while (now_s := time.monotonic() - began) < seconds:
            while ahead and ahead[0].at_s <= now_s:
                fault = ahead.pop(0)
                names.append(str(fault))
                injector.begin(fault)
            if now_s >= said:
                self._progress(said, names)
                said, names = said + _PROGRESS_S, []
            time.sleep(_TICK_S)

    def _progress(self, at_s: float, names: Sequence[str]) -> None:
        now = self.account.totals()
        self.say(
            f"{at_s:5.0f} s: accepted {now.accepted}, refused {now.refused}, delivered {now.delivered}, on the way "
            f"{now.lost}, twice at the wire {now.duplicates_at_wire}, at the handler {now.duplicates_at_handler}, "
            f"out of order {now.out_of_order}; {', '.join(names) or 'quiet'}"
        )
