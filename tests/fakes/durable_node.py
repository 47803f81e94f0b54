"""A node's durable delivery without a wire: the real hub, acks and followings; reads are answered when a test says so.

Answers come in the order in which the store was read, as one reading thread gives them; when it reads what it was
asked for, and when the hub takes an answer, is up to the test.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from cloud_node.acks import Acks
from cloud_node.durable import Durable
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from cloud_node.inbox_reader import Look
from cloud_node.wire.recipients import Recipients
from proto.message import KeyOutcome, Place
from store.inbox import Page
from tests.fakes.inbox_store import Appended, InboxStore


class FakeConnection:
    """What was written to one session; *backlog* grows while it is *slow*, and *dies* ends it in the next emit."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any], int | None]] = []
        self.closed = False
        self.dies = False
        self.slow = False
        self.backlog = 0
        self.noted: dict[str, Place] = {}  # the cursors that the store had when it was asked


class FakeReader:
    """See cloud_node.durable.Reads."""

    def __init__(self, store: InboxStore) -> None:
        self._store = store
        self.asked: list[tuple[str, Callable[[], Callable[[], None]]]] = []  # what, and what reads it
        self.answers: deque[tuple[str, Callable[[], None]]] = deque()
        self.pages = 0
        self.on_checked: Callable[[Mapping[str, Any]], None]

    def look(self, look: Look) -> None:
        assert isinstance(look.then, partial)
        noted: dict[str, Place] = look.then.args[0].session.connection.noted

        def answer() -> Callable[[], None]:
            positions = {key: self._store.position(key) for key in look.keys}
            acked = self._store.acked(look.session_key, look.acked)
            for key in look.acked:
                noted.pop(key, None)
            noted.update(acked)
            return partial(look.then, positions, acked)

        self.asked.append(("look", answer))

    def read(self, key: str, after: int, limit: int, then: Callable[[Page], None]) -> None:
        assert limit > 0
        self.pages += 1
        # One that nobody waits for any more, because its key was left in the meantime, makes room.
        self.asked = [(what, ask) for what, ask in self.asked if what != key]
        self.asked.append((key, lambda: partial(then, self._store.read(key, after, limit))))

    def check(self, batches: Sequence[Sequence[str]]) -> None:
        keys = [key for batch in batches for key in batch]
        self.asked = [(what, ask) for what, ask in self.asked if what != "check"]
        self.asked.append(("check", lambda: partial(self.on_checked, {key: self._store.position(key) for key in keys})))

    def reads_one(self, number: int) -> None:
        """Read one of what is asked for."""
        if self.asked:
            what, ask = self.asked.pop(number % len(self.asked))
            self.answers.append((what, ask()))

    def gives_one(self) -> None:
        """Let the hub take the oldest answer."""
        if self.answers:
            self.answers.popleft()[1]()

    def under_way(self, key: str) -> int:
        """Count the pages of *key* that are not taken yet."""
        return sum(what == key for what, _ in [*self.asked, *self.answers])


class DurableNode:
    """See the module.  *emitted* is called for each event that a connection takes."""

    def __init__(self, store: InboxStore, ledger: Any, *, tail_bytes: int = 1 << 24) -> None:
        self.store = store
        self.hub = Hub(lambda _key, _count: None)
        self.reader = FakeReader(store)
        self.deferred: list[Callable[[], object]] = []
        self.acks = Acks(ledger)
        self.durable = Durable(
            self.hub,
            self,
            self.acks,
            lambda: store.now_ms,
            lambda _delay_s, run: self.deferred.append(run),
            tail_bytes=tail_bytes,
        )
        self.durable.reader = self.reader
        self.reader.on_checked = self.durable.take_positions

    # What durable needs of the transport.

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        handed = 0
        written = orjson.dumps(data)
        read = orjson.loads(written)
        for connection in recipients.connections:
            assert isinstance(connection, FakeConnection)
            if connection.closed:
                continue
            if connection.dies:
                self.goes(connection)
                continue
            connection.backlog += len(written) if connection.slow else 0
            connection.events.append((event, read, ack_id))
            handed += 1
        return handed

    def backlog(self, session: Session) -> int:
        return int(session.connection.backlog)

    # What the gateway does.

    def connect(self, sid: str, identity: Identity) -> Session:
        """Let a session in; nothing is decided until :meth:`opens`."""
        session = self.hub.add(sid, identity, FakeConnection())
        self.durable.attach(session, identity.keys)
        return session

    def goes(self, connection: FakeConnection) -> None:
        """End the session of *connection*."""
        connection.closed = True
        for session in self.hub:
            if session.connection is connection:
                keys = list(session.keys)
                self.hub.remove(session.sid)
                self.durable.detach(session, keys)

    def joins(self, session: Session, key: str) -> None:
        """Let *session* answer to a room's key."""
        assert self.hub.attach(session, key)
        self.durable.attach(session, (key,))

    def leaves(self, session: Session, key: str) -> None:
        """Let it answer to it no more."""
        assert self.hub.detach(session, key)
        self.durable.detach(session, (key,))
        session.acked.pop(key, None)

    def hint(self, it: Appended) -> KeyOutcome:
        """Take a message from a worker."""
        return self.durable.deliver(it.key, it.place, it.kept)

    # How it goes on.

    def runs_deferred(self) -> None:
        """Run what was to be done a little later."""
        deferred, self.deferred = self.deferred, []
        for run in deferred:
            run()

    def settles(self) -> None:
        """Go on until nothing moves; everybody reads what was written to it."""
        for _ in range(400):
            if not (self.reader.asked or self.reader.answers or self.deferred):
                return
            for session in self.hub:
                session.connection.backlog = 0
            while self.reader.asked:
                self.reader.reads_one(0)
            while self.reader.answers:
                self.reader.gives_one()
            self.runs_deferred()
        raise AssertionError("it never ends")
