"""What was promised, what came over the wire, what the app's handlers saw: and the difference.

Refuses to believe anybody but the ends: *accepted* is a 202 that a caller read, *handled* is a handler that ran.

Threads: callers, the reader of the crowd's output and those who look share one account; one lock, held briefly.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Self

_MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Totals:
    """Counts of one run, or of a part of it."""

    accepted: int = 0  # messages with a 202
    owed: int = 0  # what these make for all tabs
    delivered: int = 0  # of what is owed: handled at least once
    lost: int = 0  # of what is owed: never handled
    duplicates_at_wire: int = 0
    duplicates_at_handler: int = 0
    out_of_order: int = 0
    unpromised: int = 0  # handled, though no 202 was read before the caller gave up
    gaps_reported: int = 0
    refused: int = 0  # answers that said "not now", and calls that broke
    never_accepted: int = 0  # messages whose caller gave up
    other_push_id: int = 0  # the same request_id answered with another push_id
    unexpected: int = 0  # answers that no caller can make sense of

    def __sub__(self, before: Self) -> "Totals":
        return Totals(**{one.name: getattr(self, one.name) - getattr(before, one.name) for one in fields(self)})

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        broken = (self.lost, self.duplicates_at_handler, self.out_of_order, self.other_push_id, self.unexpected)
        return not any(broken)

    def __str__(self) -> str:
        return ", ".join(f"{one.name.replace('_', ' ')} {getattr(self, one.name)}" for one in fields(self))


@dataclass
class _Tab:
    key: str
    wire: Counter[int] = field(default_factory=Counter)
    handled: Counter[int] = field(default_factory=Counter)
    highest: int = 0


class Account:
    """Of messages numbered from 1 for each key, and of the tabs that answer to these keys (tab → key)."""

    def __init__(self, tabs: Mapping[int, str]) -> None:
        self._lock = threading.Lock()
        self._tabs = {tab: _Tab(key) for tab, key in tabs.items()}
        self._accepted: dict[str, dict[int, float]] = defaultdict(dict)  # key → n → when, by the steady clock
        self._counts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()  # how calls ended: status, or what broke
        self.examples: list[str] = []  # the first that went wrong, for a person to look at
        self.latencies_s: list[float] = []

    def accept(self, key: str, number: int, at: float) -> None:
        """A caller read 202 for this message."""
        with self._lock:
            self._accepted[key][number] = at

    def end(self, what: str, *, refused: bool = False) -> None:
        """A call ended so."""
        with self._lock:
            self.ends[what] += 1
            self._counts["refused"] += refused

    def wrong(self, kind: str, example: str) -> None:
        """Something that is promised not to happen: one of Totals' names."""
        with self._lock:
            self._note(kind, example)

    def wire(self, tab: int, number: int) -> None:
        """A push arrived at a tab."""
        with self._lock:
            self._tabs[tab].wire[number] += 1
            self._counts["duplicates_at_wire"] += self._tabs[tab].wire[number] > 1

    def handle(self, tab: int, number: int, at: float) -> None:
        """A tab's handler was given a push."""
        with self._lock:
            one = self._tabs[tab]
            one.handled[number] += 1
            if one.handled[number] > 1:
                self._note("duplicates_at_handler", f"tab {tab} of {one.key}: {number} again")
            elif number < one.highest:
                self._note("out_of_order", f"tab {tab} of {one.key}: {number} after {one.highest}")
            else:
                one.highest = number
                accepted = self._accepted[one.key].get(number)
                self.latencies_s.append(max(0.0, at - accepted) if accepted is not None else 0.0)

    def gap(self, tab: int, what: str) -> None:
        """A tab was told that messages were lost."""
        with self._lock:
            self._counts["gaps_reported"] += 1
            self._example(f"tab {tab} of {self._tabs[tab].key}: told {what}")

    def waiting(self) -> int:
        """How many messages are owed to tabs now."""
        with self._lock:
            return sum(len(self._lacks(tab)) for tab in self._tabs.values())

    def lacking(self) -> list[str]:
        """Which these are, for a person to look at."""
        with self._lock:
            lacks = ((number, tab, self._lacks(tab)) for number, tab in self._tabs.items())
            return [f"tab {number} of {tab.key} lacks {sorted(these)[:10]}" for number, tab, these in lacks if these]

    def totals(self) -> Totals:
        """Give the counts so far."""
        with self._lock:
            tabs = self._tabs.values()
            owed = sum(len(self._accepted[tab.key]) for tab in tabs)
            lost = sum(len(self._lacks(tab)) for tab in tabs)
            unpromised = sum(len(tab.handled.keys() - self._accepted[tab.key].keys()) for tab in tabs)
            accepted = sum(map(len, self._accepted.values()))
            return Totals(accepted, owed, owed - lost, lost, unpromised=unpromised, **self._counts)

    def _lacks(self, tab: _Tab) -> set[int]:
        return self._accepted[tab.key].keys() - tab.handled.keys()

    def _note(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        self._example(f"{kind}: {example}")

    def _example(self, example: str) -> None:
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(example)


def quantiles_ms(seconds: Iterable[float]) -> tuple[float, float, float]:
    """Give p50, p99 and the largest, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    at = (len(ordered) // 2, int(len(ordered) * 0.99), len(ordered) - 1)
    return tuple(ordered[min(place, len(ordered) - 1)] * 1000 for place in at)  # type: ignore[return-value]
