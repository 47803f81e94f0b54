"""What to send where, and what each answer means for each key.  Pure: no I/O, no clock.

An *attempt* at a push has at most two rounds.  Round one sends each key to the nodes that the directory names.  Where
a node answers "no session here" the directory was behind: the key is looked up once more, and round two sends it to
nodes that were not asked yet.  Then every key is settled: it has a :class:`Fate`, or it is left for a later attempt
because a node could not be reached, or because the store lost its data a moment ago and nodes are still registering.

The pushes of a task are attempted together: :func:`gather` makes of their plans one list for each node, and
:func:`deal` gives each push its answers back.  No push's outcome depends on another's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from proto.errors import NodeBusy, NodeError
from proto.message import Fate, KeyOutcome, Outcome, Push

Holders = Mapping[str, Sequence[str]]
Answer = Mapping[str, KeyOutcome] | NodeError
Sends = Mapping[str, Sequence[tuple[Push, Sequence[str]]]]

_DELIVERED = frozenset({Outcome.DELIVERED, Outcome.DUPLICATE})
_HAS_IT = _DELIVERED | {Outcome.QUEUED}


@dataclass(frozen=True, slots=True)
class Plan:
    """One round: the keys to send to each node."""

    sends: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended.

    *fates* holds the keys that are finished; *left* the keys for a later attempt, *done* the nodes that have those
    already; *reasons* says, for a key that is left, slow or failed, what stood in the way.  *sessions* counts
    hand-overs.  *blame* names, in a word, what made keys fail; *away*: what is left is left since the store did not
    answer.
    """

    fates: Mapping[str, Fate]
    left: tuple[str, ...]
    done: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, str]
    sessions: int
    patient: bool = False  # all that is left has reached somebody; others may yet turn up
    blame: str = "node_refused"
    away: bool = False

    @classmethod
    def all(cls, push: Push, fate: Fate, reason: str = "", *, blame: str = "node_refused") -> Self:
        """End *push* for all its keys alike, without an attempt."""
        reasons = dict.fromkeys(push.keys, reason) if reason else {}
        return cls(dict.fromkeys(push.keys, fate), (), {}, reasons, 0, blame=blame)

    @classmethod
    def none(cls, push: Push, reason: str, *, away: bool = False) -> Self:
        """Leave *push* for a later attempt as it is."""
        return cls({}, push.keys, push.done, dict.fromkeys(push.keys, reason), 0, away=away)


def plan(keys: Iterable[str], holders: Holders, skip: Mapping[str, Collection[str]]) -> Plan:
    """Group *keys* by the nodes in *holders*, leaving out for each key the nodes in *skip*."""
    sends: dict[str, list[str]] = {}
    for key in keys:
        for node in holders.get(key, ()):
            if not skip or node not in skip.get(key, ()):
                sends.setdefault(node, []).append(key)
    return Plan({node: tuple(its_keys) for node, its_keys in sends.items()})


def gather(planned: Iterable[tuple[Push, Plan]]) -> Sends:
    """Give each node's pushes with their keys, in the order in which they came."""
    sends: dict[str, list[tuple[Push, Sequence[str]]]] = {}
    for push, its_plan in planned:
        for node, keys in its_plan.sends.items():
            if node in sends:
                sends[node].append((push, keys))
            else:
                sends[node] = [(push, keys)]
    return sends


def deal(plans: Iterable[Plan], answers: Mapping[str, Sequence[Answer]]) -> Iterator[dict[str, Answer]]:
    """Give for each plan what its nodes answered; *answers* are in the order of :func:`gather`."""
    left = {node: iter(its) for node, its in answers.items()}
    return ({node: next(left[node]) for node in its_plan.sends} for its_plan in plans)


def find_server(server: str, live: Iterable[str]) -> str | None:
    """Find the live incarnation that a caller's *server* names: ``host:port#boot`` exactly, or ``host:port``."""
    for node in live:
        if server in (node, address_of(node)):
            return node
    return None


def address_of(node: str) -> str:
    """Give the ``host:port`` at which the incarnation *node* takes gRPC."""
    return node.partition("#")[0]


class Attempt:
    """One attempt at a push: feed it answers, ask it what is next."""

    def __init__(self, keys: Sequence[str], done: Mapping[str, Collection[str]]) -> None:
        self._keys = tuple(dict.fromkeys(keys))
        self._done = done
        self._answers: dict[str, dict[str, KeyOutcome | NodeError]] = {key: {} for key in self._keys}
        self._missed: set[str] = set()

    def first(self, holders: Holders) -> Plan:
        """Plan round one."""
        return plan(self._keys, holders, self._done)

    def moved(self) -> tuple[str, ...]:
        """Name the keys that a node said it does not hold: look them up once more."""
        return tuple([key for key in self._keys if key in self._missed]) if self._missed else ()

    def second(self, holders: Holders) -> Plan:
        """Plan round two for the moved keys, to nodes that were not asked before."""
        asked = {key: [*self._done.get(key, ()), *answers] for key, answers in self._answers.items()}
        return plan(self.moved(), holders, asked)

    def record(self, plan: Plan, answers: Mapping[str, Answer]) -> None:
        """Take the nodes' answers to *plan*; a node that is missing from them counts as not asked."""
        for node, keys in plan.sends.items():
            answer = answers.get(node)
            if answer is None:
                continue
            for key in keys:
                if isinstance(answer, NodeError):
                    self._answers[key][node] = answer
                    continue
                its = answer[key]
                self._answers[key][node] = _not_busy(node, its)
                if its.outcome is Outcome.NO_SESSION:
                    self._missed.add(key)

    def settle(self, *, settled: bool = True) -> Settlement:
        """Say how each key stands after the last round; not *settled*: the directory may not know every holder yet."""
        fates: dict[str, Fate] = {}
        done: dict[str, tuple[str, ...]] = {}
        reasons: dict[str, str] = {}
        sessions, all_answered = 0, True
        for key, answers in self._answers.items():
            if settled and len(answers) == 1:  # nearly always, and then nearly always this:
                (answer,) = answers.values()
                if isinstance(answer, KeyOutcome) and answer.outcome is Outcome.DELIVERED:
                    fates[key] = Fate.DELIVERED
                    sessions += answer.sessions
                    continue
            errors = [answer for answer in answers.values() if isinstance(answer, NodeError)]
            if errors:
                all_answered = False
                reasons[key] = "; ".join(str(error) for error in errors)
            elif not settled:
                reasons[key] = "nodes are still registering in the store"
            sessions += sum([answer.sessions for answer in answers.values() if isinstance(answer, KeyOutcome)])
            if not settled or any(error.retryable for error in errors):
                has_it = [node for node, answer in answers.items() if _outcome(answer) in _HAS_IT]
                done[key] = (*self._done.get(key, ()), *has_it)
            else:
                fates[key] = self._fate(key, answers.values())
                if fates[key] is Fate.SLOW:
                    reasons[key] = "its sessions were too far behind, and were closed"
        patient = all_answered and all(done.values())
        return Settlement(fates=fates, left=tuple(done), done=done, reasons=reasons, sessions=sessions, patient=patient)

    def _fate(self, key: str, answers: Iterable[KeyOutcome | NodeError]) -> Fate:
        outcomes = {_outcome(answer) for answer in answers}
        if outcomes & _DELIVERED:
            return Fate.DELIVERED
        if Outcome.QUEUED in outcomes:
            return Fate.QUEUED
        if self._done.get(key):
            return Fate.DELIVERED
        for outcome, fate in (
            (Outcome.SLOW, Fate.SLOW),
            (Outcome.FILTERED, Fate.FILTERED),
            (None, Fate.FAILED),  # a node refused
            (Outcome.EXPIRED, Fate.EXPIRED),
        ):
            if outcome in outcomes:
                return fate
        return Fate.OFFLINE


def _not_busy(node: str, answer: KeyOutcome) -> KeyOutcome | NodeError:
    if answer.outcome is Outcome.BUSY:
        return NodeBusy(node, "enough paced broadcasts are under way")
    return answer


def _outcome(answer: KeyOutcome | NodeError) -> Outcome | None:
    return None if isinstance(answer, NodeError) else answer.outcome
