"""A node's durable delivery whose store answers at once, unless it is told to wait; on a memory inbox.

For tests of what follows from one order of events; orders at random are tests/properties/test_durable.py's.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cloud_node.acks import Acks
from cloud_node.durable import Durable
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from cloud_node.inbox_reader import Look
from cloud_node.wire.recipients import Recipients
from proto.message import KeyOutcome, Message, Place
from store.inbox import Kept, Page, Position
from tests.fakes.noting_ledger import NotingLedger

NOW_MS = 1_000


@dataclass(eq=False)
class Line:
    """Stands in for a session's connection: what was sent, as (event, offset, ack id)."""

    sid: str
    closed: bool = False
    got: list[tuple[str, int | None, int | None]] = field(default_factory=list)

    @property
    def offsets(self) -> list[int | None]:
        return [offset for event, offset, _ in self.got if event == "push"]


class PromptNode:
    """The real hub, acks and followings.  *backlog* is that of every session; *deferred* counts what is put off."""

    def __init__(self, *, tail_bytes: int = 1 << 20) -> None:
        self.hub = Hub(lambda _key, _count: None)
        self.ledger = NotingLedger()
        self.acks = Acks(self.ledger)
        self.durable = Durable(self.hub, self, self.acks, lambda: NOW_MS, self._defer, tail_bytes=tail_bytes)
        self.durable.reader = self
        self.chains: dict[str, tuple[Place, ...]] = {}
        self.inboxes: dict[str, dict[int, Kept]] = {}
        self.lasts: dict[str, int] = {}
        self.cursors: dict[str, Place] = {}
        self.slow = False
        self.delays: list[float] = []
        self.reads = 0
        self.held: deque[Callable[[], object]] | None = None  # answers that wait, if they are to

    # The store.

    def append(self, key: str, *, op: int = 9, epoch: str = "e1", push_id: str = "") -> tuple[Place, Kept]:
        """Append a message; in a new epoch if it is another one."""
        offset = self.lasts[key] = self.lasts.get(key, 0) + 1
        chain = self.chains.get(key, ())
        if not chain or chain[-1].epoch != epoch:
            self.chains[key] = (*chain, Place(epoch, offset))
        kept = Kept(offset, push_id or f"{epoch}-{offset}", Message(op, b"1"), NOW_MS + 60_000, NOW_MS)
        self.inboxes.setdefault(key, {})[offset] = kept
        return Place(epoch, offset), kept

    def lose_after(self, key: str, offset: int) -> None:
        """Forget the newest messages, as a store that crashed."""
        self.inboxes[key] = {at: kept for at, kept in self.inboxes[key].items() if at <= offset}
        self.lasts[key] = offset

    def wipe(self, key: str) -> None:
        """Forget all of a key."""
        for kept in (self.chains, self.inboxes, self.lasts):
            kept.pop(key, None)

    # Reads.

    def look(self, look: Look) -> None:
        cursors = {key: place for key, place in self.cursors.items() if key in look.acked}
        self._answer(partial(look.then, {key: self._position(key) for key in look.keys}, cursors))

    def read(self, key: str, after: int, limit: int, then: Callable[[Page], None]) -> None:
        self.reads += 1
        found = [kept for offset, kept in sorted(self.inboxes.get(key, {}).items()) if offset > after][:limit]
        position = self._position(key)
        more = len(found) >= limit
        page = Page(key, position, after, tuple(found), found[-1].offset if more else position.last, more)
        self._answer(partial(then, page))

    def check(self, batches: Sequence[Sequence[str]]) -> None:
        for batch in batches:
            self._answer(partial(self.durable.take_positions, {key: self._position(key) for key in batch}))

    def _position(self, key: str) -> Position:
        return Position(self.chains.get(key, ()), self.lasts.get(key, 0))

    def _answer(self, answer: Callable[[], object]) -> None:
        if self.held is None:
            answer()
        else:
            self.held.append(answer)

    # The transport.

    def emit(self, recipients: Recipients, event: str, data: Any, ack_id: int | None = None) -> int:
        for connection in recipients.connections:
            assert isinstance(connection, Line)
            connection.got.append((event, data.get("offset"), ack_id))
        return len(recipients)

    def backlog(self, _session: Session) -> int:
        return 1 << 20 if self.slow else 0

    def _defer(self, delay_s: float, _run: Callable[[], object]) -> None:
        self.delays.append(delay_s)

    # Sessions.

    def connect(
        self,
        sid: str,
        *rooms: str,
        accepts: frozenset[int] | None = None,
        resume: Mapping[str, Place] | None = None,
    ) -> tuple[Session, Line]:
        """Connect a session under the key alice."""
        identity = Identity("alice", None, rooms, accepts, resume=resume or {})
        line = Line(sid)
        session = self.hub.add(sid, identity, line)
        self.durable.attach(session, identity.keys)
        self.durable.open(session, identity.resume, lambda _recovered, _begins: None)
        return session, line

    def hint(self, key: str, place: Place, kept: Kept) -> KeyOutcome:
        """Take a message from a worker."""
        return self.durable.deliver(key, place, kept)

    def push(self, key: str, **how: Any) -> KeyOutcome:
        """Append and hint."""
        return self.hint(key, *self.append(key, **how))

    @property
    def acked(self) -> list[object]:
        """The pushes whose acks were noted, in order."""
        return [note[1] for note in self.ledger.notes if note[0] == "acked"]
