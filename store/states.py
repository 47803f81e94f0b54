"""What may become of a push, and who says so: the states of a receipt and the one table of transitions.

Pure.  The scripts of store/receipts.py are made from :data:`TRANSITIONS`, and docs/state_machine.md shows it.  Refuses
to know how a receipt is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from proto.message import Place
from proto.queues import Priority


class State(StrEnum):
    """How far a push is with one of its keys."""

    SCHEDULED = "scheduled"  # its time has not come
    ACCEPTED = "accepted"  # answered for, and on its way to a worker
    DISPATCHED = "dispatched"  # a worker has it
    EMITTED = "emitted"  # written to at least one session
    ACKED = "acked"  # at least one session said that it has it
    OFFLINE = "offline"  # nobody answered to the key; a durable push waits in its inbox
    FILTERED = "filtered"  # sessions are there, none accepts the op
    EXPIRED = "expired"  # its time to live was over first
    CANCELLED = "cancelled"  # taken back by its caller
    FAILED = "failed"  # given up, with the reason


class Owner(StrEnum):
    """The tier that makes a transition; no other may."""

    LOGIC = "logic"
    JOB = "job"
    CLOUD = "cloud"


S = State
# Owner, from, to.  A step to the state in which a key already is, is a repetition: allowed, and nothing but counts
# change.  Truth overrules: what a node has emitted is `emitted`, whatever was said of it a moment before.
_ROWS: tuple[tuple[Owner, tuple[State, ...], State], ...] = (
    (Owner.JOB, (S.SCHEDULED, S.ACCEPTED, S.DISPATCHED, S.OFFLINE, S.FAILED), S.DISPATCHED),
    (Owner.JOB, (S.DISPATCHED, S.OFFLINE), S.OFFLINE),
    (Owner.JOB, (S.DISPATCHED, S.FILTERED), S.FILTERED),
    (Owner.JOB, (S.SCHEDULED, S.ACCEPTED, S.DISPATCHED, S.OFFLINE, S.EXPIRED), S.EXPIRED),
    (Owner.JOB, (S.SCHEDULED, S.ACCEPTED, S.DISPATCHED, S.OFFLINE, S.FAILED), S.FAILED),
    (Owner.CLOUD, tuple(state for state in S if state is not S.SCHEDULED), S.EMITTED),
    (Owner.CLOUD, tuple(state for state in S if state is not S.SCHEDULED), S.ACKED),
    (Owner.LOGIC, (S.SCHEDULED, S.ACCEPTED, S.DISPATCHED, S.OFFLINE, S.FILTERED, S.CANCELLED), S.CANCELLED),
)
TRANSITIONS: Mapping[tuple[State, State], Owner] = MappingProxyType(
    {(before, to): owner for owner, befores, to in _ROWS for before in befores}
)
BEGINNINGS = frozenset({S.SCHEDULED, S.ACCEPTED})
HANDED = frozenset({S.EMITTED, S.ACKED})
ENDINGS = frozenset({S.OFFLINE, S.FILTERED, S.EXPIRED, S.CANCELLED, S.FAILED})
# What a task that arrives (again) leaves alone.  A key that was handed over goes on: another node may lack it.
ENDED_FOR_DISPATCH = frozenset(s for s in S if (s, S.DISPATCHED) not in TRANSITIONS and s not in HANDED)
# From the worst to the best: a push is as far as the least of its keys.
_OVERALL = (
    S.SCHEDULED,
    S.ACCEPTED,
    S.DISPATCHED,
    S.FAILED,
    S.EXPIRED,
    S.OFFLINE,
    S.CANCELLED,
    S.FILTERED,
    S.EMITTED,
    S.ACKED,
)
_PROGRESS = (S.SCHEDULED, S.ACCEPTED, S.DISPATCHED, S.EMITTED, S.ACKED)


def after(before: State, to: State) -> State:
    """Say where a legal step leads: an emit that is told late leaves an acked key acked."""
    return before if before is S.ACKED and to is S.EMITTED else to


def overall(states: Mapping[str, State]) -> State:
    """Say how far a push is as a whole: as far as the least of its keys."""
    return min(states.values(), key=_OVERALL.index)


@dataclass(frozen=True, slots=True)
class KeyReceipt:
    """What became of a push for one key.  Times are Unix ms, 0 for what has not happened.

    ``dispatched_ms`` is when a worker took it up (the last time that it did so anew), ``emitted_ms`` and ``acked_ms``
    are the first of their kind, ``ended_ms`` is when it came to the ending that it is in.  ``sessions`` counts
    handings-over, ``acks`` acknowledgements, both over all nodes.
    """

    state: State
    dispatched_ms: int = 0
    emitted_ms: int = 0
    acked_ms: int = 0
    ended_ms: int = 0
    sessions: int = 0
    acks: int = 0
    reason: str = ""
    place: Place | None = None

    def seen_at(self, now_ms: int, expires_ms: int, *, durable: bool) -> Self:
        """Show what nobody writes: that it expired while it was waiting for somebody to do something."""
        waiting = self.state in BEGINNINGS or self.state is S.DISPATCHED or (durable and self.state is S.OFFLINE)
        if not waiting or not expires_ms or now_ms < expires_ms:
            return self
        return replace(self, state=S.EXPIRED, ended_ms=expires_ms, reason="")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a push.  Times are Unix ms; ``not_before_ms`` 0: at once; ``expires_ms`` 0: never."""

    push_id: str
    op: int
    priority: Priority
    durable: bool
    traced: bool
    accepted_ms: int
    not_before_ms: int
    expires_ms: int
    keys: Mapping[str, KeyReceipt]

    @property
    def state(self) -> State:
        """How far it is as a whole: as far as the least of its keys, in the order of docs/state_machine.md."""
        return overall({key: kept.state for key, kept in self.keys.items()})

    def reached(self, state: State) -> bool:
        """Tell whether each key has got to *state* (dispatched, emitted or acked), or has ended otherwise.

        Raises ValueError for a state that nobody can wait for.
        """
        if state not in (S.DISPATCHED, S.EMITTED, S.ACKED):
            raise ValueError(f"no push is waited for until it is {state}")
        there = frozenset(_PROGRESS[_PROGRESS.index(state) :]) | ENDINGS
        return all(kept.state in there for kept in self.keys.values())

    def seen_at(self, now_ms: int) -> Self:
        """Show it as it is at *now_ms*: what was still waiting when it expired has expired."""
        keys = {key: kept.seen_at(now_ms, self.expires_ms, durable=self.durable) for key, kept in self.keys.items()}
        return replace(self, keys=keys)
