"""Which fault begins when, at what, and for how long: a pure function of the seed.

Refuses to look at what runs: the same seed gives the same schedule, whatever became of the last one.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_GAP_S = (0.6, 3.4)
_REST_S = 3.0  # after a fault that was alone
_LAST_S = 4.0  # before the end, so that what began is over then
_TOGETHER = 3
_ALONE_FROM_S = 300.0


@dataclass(frozen=True)
class Fault:
    """One fault: *kind* at *target*, from *at_s* after the beginning, for *lasts_s*."""

    at_s: float
    kind: str
    target: str
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".rstrip()


_SERVERS = ("web", "worker-0", "worker-1", "node-0", "node-1", "rabbitmq", "redis")
_NODES = ("node-0", "node-1")
# Kind → what it may hit, and between how many and how many seconds it lasts.
KINDS: Mapping[str, tuple[Sequence[str], tuple[float, float]]] = {
    "kill": (_SERVERS, (0.1, 2.5)),
    "freeze": (_SERVERS, (0.5, 5.0)),
    "grpc-drop": (_NODES, (2.0, 6.0)),
    "grpc-delay": (_NODES, (2.0, 6.0)),
    "grpc-duplicate": (_NODES, (2.0, 6.0)),
    "grpc-lose-reply": (_NODES, (2.0, 6.0)),
    "cut-workers": (_NODES, (1.0, 6.0)),
    "cut-redis": (_NODES, (1.0, 6.0)),
    "clock-ahead": (("web", "worker-0", "worker-1", *_NODES), (2.0, 6.0)),
    "clock-back": (("web", "worker-0", "worker-1", *_NODES), (2.0, 6.0)),
    "lose-acks": (("clients",), (2.0, 6.0)),
    "reconnects": (("clients",), (1.0, 3.0)),
    "reloads": (("clients",), (1.0, 3.0)),
}
_OFTEN = {"kill": 4, "freeze": 3}  # than any other, since these have seven targets


def every_fault(kinds: Sequence[str] = tuple(KINDS), targets: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Give each kind with each target that it may hit; *targets*, if any, are those that exist."""
    return [(kind, target) for kind in kinds for target in KINDS[kind][0] if not targets or target in targets]


def schedule(seed: int, seconds: float, faults: Sequence[tuple[str, str]]) -> list[Fault]:
    """In a long run first each kind by itself, then up to three at the same time, no two at the same target."""
    dice = random.Random(seed)
    plan: list[Fault] = []
    if seconds >= _ALONE_FROM_S:
        plan += _alone(dice, seconds / 2, faults)
    begin = max((fault.at_s + fault.lasts_s for fault in plan), default=0.0)
    plan += _together(dice, begin + 1.0, seconds - _LAST_S, faults)
    return plan


def _alone(dice: random.Random, until_s: float, faults: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    at_s = 1.0
    for kind, target in dice.sample(faults, len(faults)):
        lasts_s = round(dice.uniform(*KINDS[kind][1]), 2)
        if at_s + lasts_s > until_s:
            return
        yield Fault(round(at_s, 2), kind, target, lasts_s)
        at_s += lasts_s + _REST_S


def _together(dice: random.Random, at_s: float, until_s: float, faults: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    under_way: list[Fault] = []
    while (at_s := at_s + dice.uniform(*_GAP_S)) < until_s:
        under_way = [fault for fault in under_way if fault.at_s + fault.lasts_s > at_s]
        hit = {fault.target for fault in under_way}
        free = [(kind, target) for kind, target in faults if target not in hit]
        if len(under_way) >= _TOGETHER or not free:
            continue
        kinds = sorted({kind for kind, _ in free})
        kind = dice.choices(kinds, [_OFTEN.get(kind, 1) for kind in kinds])[0]
        target = dice.choice([target for its, target in free if its == kind])
        lasts_s = round(min(dice.uniform(*KINDS[kind][1]), until_s - at_s), 2)
        under_way.append(Fault(round(at_s, 2), kind, target, lasts_s))
        yield under_way[-1]
