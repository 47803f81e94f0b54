"""Hub: the sessions of this node, by key.  The truth about them; no I/O.

Only the eventlet hub's thread calls it (bridge.py sees to that), and no method switches greenlets, so there is
nothing to lock: between two statements here nobody else runs.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from cloud_node.identity import Identity
from cloud_node.wire.recipients import Recipients
from proto import keys as key_names
from proto.message import Place

_OPS_KEPT = 8  # lists of recipients by op, of one key


@dataclass(slots=True, eq=False)
class Session:
    """One Socket.IO session.  *keys* are those it answers to now, in the order it came to them.

    *connection* is what the wire writes to (wire/connection.py); nothing here looks into it.
    """

    sid: str
    identity: Identity
    accepts: frozenset[int] | None
    connection: Any = None
    keys: dict[str, None] = field(default_factory=dict)
    acked: dict[str, Place] = field(default_factory=dict)  # up to where durable messages, by key

    @property
    def rooms(self) -> list[str]:
        """The rooms it is in."""
        return [room for key in self.keys if (room := key_names.room_of(key)) is not None]

    def takes(self, op: int) -> bool:
        """Tell whether it accepts messages of this op."""
        return self.accepts is None or op in self.accepts


class _Holders:
    """The sessions of one key, and who of them gets a message of an op: found once, until either changes."""

    __slots__ = ("_by_op", "_filtering", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Session, None] = {}
        self._filtering = 0  # sessions that do not take every op
        self._by_op: dict[int | None, Recipients] = {}

    def add(self, session: Session) -> None:
        self.sessions[session] = None
        self._filtering += session.accepts is not None
        self._by_op.clear()

    def remove(self, session: Session) -> None:
        del self.sessions[session]
        self._filtering -= session.accepts is not None
        self._by_op.clear()

    def takers(self, op: int) -> Recipients:
        """Give who takes messages of *op*; the same object as long as nothing changes."""
        which = op if self._filtering else None
        takers = self._by_op.get(which)
        if takers is None:
            if len(self._by_op) >= _OPS_KEPT:
                self._by_op.clear()
            takers = Recipients([session.connection for session in self.sessions if session.takes(op)])
            self._by_op[which] = takers
        return takers


class Hub:
    """Sessions by key; tells *changed(key, count)* of every change in a key's number of sessions."""

    def __init__(self, changed: Callable[[str, int], None]) -> None:
        self._changed = changed
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[str, _Holders] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, sid: str) -> Session | None:
        """Find the session of a Socket.IO sid."""
        return self._sessions.get(sid)

    def add(self, sid: str, identity: Identity, connection: Any = None) -> Session:
        """Let a new session answer to its identity's keys."""
        session = Session(sid, identity, identity.accepts, connection)
        self._sessions[sid] = session
        for key in identity.keys:
            self.attach(session, key)
        return session

    def remove(self, sid: str) -> Session | None:
        """Forget a session, wherever it was; None when it is not known (any more)."""
        session = self._sessions.pop(sid, None)
        if session is not None:
            for key in list(session.keys):
                self.detach(session, key)
        return session

    def attach(self, session: Session, key: str) -> bool:
        """Let *session* answer to *key*; False when it did already, or is gone."""
        if key in session.keys or session.sid not in self._sessions:
            return False
        session.keys[key] = None
        holders = self._by_key.get(key)
        if holders is None:
            holders = self._by_key[key] = _Holders()
        holders.add(session)
        self._changed(key, len(holders.sessions))
        return True

    def detach(self, session: Session, key: str) -> bool:
        """Let *session* answer to *key* no more; False when it did not."""
        if key not in session.keys:
            return False
        del session.keys[key]
        holders = self._by_key[key]
        holders.remove(session)
        if not holders.sessions:
            del self._by_key[key]
        self._changed(key, len(holders.sessions))
        return True

    def accept(self, session: Session, ops: frozenset[int] | None) -> None:
        """Let *session* take messages of *ops* only; None: of every op."""
        held = [holders for key in session.keys if (holders := self._by_key.get(key)) is not None]
        for holders in held:
            holders.remove(session)
        session.accepts = ops
        for holders in held:
            holders.add(session)

    def holders(self, key: str) -> Collection[Session]:
        """Give the sessions that answer to *key*.  Copy before anything that may change it."""
        holders = self._by_key.get(key)
        return () if holders is None else holders.sessions.keys()

    def takers(self, key: str, op: int) -> Recipients | None:
        """Give who gets a message of *op* for *key*, maybe nobody; None when nobody answers to *key*."""
        holders = self._by_key.get(key)
        return None if holders is None else holders.takers(op)

    def rooms(self) -> list[str]:
        """List the rooms that have a session here."""
        return [room for key in self._by_key if (room := key_names.room_of(key)) is not None]
