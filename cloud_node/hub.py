"""Hub: the sessions of this node, by key.  The truth about them; no I/O.

Only the eventlet hub's thread calls it (bridge.py sees to that), and no method switches greenlets, so there is
nothing to lock: between two statements here nobody else runs.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from cloud_node.identity import Identity
from proto import keys as key_names


@dataclass(slots=True, eq=False)
class Session:
    """One Socket.IO connection.  *keys* are those it answers to now, in the order it came to them."""

    sid: str
    identity: Identity
    accepts: frozenset[int] | None
    keys: dict[str, None] = field(default_factory=dict)

    @property
    def rooms(self) -> list[str]:
        """The rooms it is in."""
        return [room for key in self.keys if (room := key_names.room_of(key)) is not None]

    def takes(self, op: int) -> bool:
        """Tell whether it accepts messages of this op."""
        return self.accepts is None or op in self.accepts


class Hub:
    """Sessions by key; tells *changed(key, count)* of every change in a key's number of sessions."""

    def __init__(self, changed: Callable[[str, int], None]) -> None:
        self._changed = changed
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[str, dict[Session, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, sid: str) -> Session | None:
        """Find the session of a Socket.IO sid."""
        return self._sessions.get(sid)

    def add(self, sid: str, identity: Identity) -> Session:
        """Let a new session answer to its identity's keys."""
        session = Session(sid, identity, identity.accepts)
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
        holders = self._by_key.setdefault(key, {})
        holders[session] = None
        self._changed(key, len(holders))
        return True

    def detach(self, session: Session, key: str) -> bool:
        """Let *session* answer to *key* no more; False when it did not."""
        if key not in session.keys:
            return False
        del session.keys[key]
        holders = self._by_key[key]
        del holders[session]
        if not holders:
            del self._by_key[key]
        self._changed(key, len(holders))
        return True

    def holders(self, key: str) -> Collection[Session]:
        """Give the sessions that answer to *key*, oldest first.  Copy before anything that may change it."""
        return self._by_key.get(key, {}).keys()

    def rooms(self) -> list[str]:
        """List the rooms that have a session here."""
        return [room for key in self._by_key if (room := key_names.room_of(key)) is not None]
