"""One node's pacing on a clock that a test turns: sessions, what each got and when, and what was asked for later."""

import heapq
from collections.abc import Callable
from itertools import count

from cloud_node import metrics
from cloud_node.acks import Acks
from cloud_node.delivery import Delivery
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from cloud_node.pacing import Pacing
from cloud_node.wire.recipients import Recipients
from proto.message import KeyOutcome, Message
from tests.fakes.noting_ledger import NotingLedger
from tests.fakes.taking_sender import Connection, TakingSender

NOW_MS = 1_700_000_000_000


class _Sender(TakingSender):
    """Notes the time of each event, and raises when it is told to."""

    def __init__(self, hub: Hub, clock: Callable[[], float]) -> None:
        super().__init__(hub)
        self._clock = clock
        self.times: list[float] = []  # one for each session that took an event
        self.broken = False

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        if self.broken:
            raise RuntimeError("as asked")
        taken = super().emit(recipients, event, data, ack_id)
        self.times += [self._clock()] * taken
        return taken


class PacingWorld:
    """Sessions of the key ``all``.  *late_s* says how late the hub is with what is due; it may be early too."""

    def __init__(self, sessions: int = 0, *, most: int = 4, late_s: Callable[[], float] = lambda: 0.0) -> None:
        self.now_s = 0.0
        self._late_s = late_s
        self._order = count()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self.hub = Hub(lambda _key, _count: None)
        self.sender = _Sender(self.hub, lambda: self.now_s)
        self.ledger = NotingLedger()
        self.acks = Acks(self.ledger)
        self.pacing = Pacing(
            self.hub, self.sender, self.acks, self._now_ms, self._defer, most=most, clock=lambda: self.now_s
        )
        self.sessions = [self.add(str(number)) for number in range(sessions)]

    def add(self, sid: str, accepts: frozenset[int] | None = None) -> Session:
        return self.hub.add(sid, Identity(f"k{sid}", None, (), accepts), Connection(sid))

    def begin(
        self, speed: int, *, push_id: str = "p", ttl_s: float = 0, recorded: bool = False, op: int = 9
    ) -> KeyOutcome:
        expires_ms = self._now_ms() + round(ttl_s * 1000) if ttl_s else 0
        asked = Delivery(("all",), Message(op, b"1"), push_id, expires_ms, recorded=recorded, speed=speed)
        return self.pacing.begin(asked, "all")

    def goes_on(self, until_s: float = float("inf")) -> None:
        """Turn the clock to all that is due before *until_s*."""
        while self._later and self._later[0][0] < until_s:
            due, _, run = heapq.heappop(self._later)
            self.now_s = max(self.now_s, due)
            run()
        if until_s != float("inf"):
            self.now_s = until_s

    def _defer(self, delay_s: float, run: Callable[[], object]) -> None:
        assert delay_s >= 0
        due = max(self.now_s, self.now_s + delay_s + self._late_s())
        heapq.heappush(self._later, (due, next(self._order), run))

    def _now_ms(self) -> int:
        return NOW_MS + round(self.now_s * 1000)


class Ended:
    """What the metrics have counted since this was made."""

    def __init__(self) -> None:
        self._before = {end: _counts(end) for end in ("done", "expired", "stopped", "failed")}

    def __call__(self) -> dict[str, tuple[int, int]]:
        """Give, of each end that there was, how many broadcasts, and how many sessions they did not reach."""
        now = {end: _counts(end) for end in self._before}
        return {
            end: (now[end][0] - before[0], now[end][1] - before[1])
            for end, before in self._before.items()
            if now[end] != before
        }


def _counts(end: str) -> tuple[int, int]:
    names = ("cloudpush_node_paced_ends_total", "cloudpush_node_paced_unreached_total")
    ends, unreached = (int(metrics.REGISTRY.get_sample_value(name, {"end": end}) or 0) for name in names)
    return ends, unreached
