"""Inboxes and cursors in memory, with the semantics of store/inbox.py and store/cursors.py, and the faults of a Redis.

It may restart with its data, lose its last writes in a restart, or lose everything; each is another run of it, and
each key's next append then begins an epoch.  Time stands still until a test lets it go on.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from proto.message import Message, Place
from store.inbox import Kept, Page, Position, _page

_KEPT_STATES = 12


class Appended(NamedTuple):
    """One message that was accepted, with the place that it got."""

    key: str
    place: Place
    kept: Kept


@dataclass
class _Inbox:
    run: int = -1
    position: Position = field(default_factory=Position)
    log: dict[int, Kept] = field(default_factory=dict)


class InboxStore:
    """See the module.  *most*: messages kept of a key."""

    def __init__(self, most: int = 1000) -> None:
        self.now_ms = 1_000_000
        self.appended: list[Appended] = []
        self.by_push: dict[str, Appended] = {}
        self.trimmed: set[Appended] = set()  # before they expired
        self.removed: set[str] = set()  # pushes
        self.lost: set[Appended] = set()  # writes that a restart undid
        self.wiped: set[Appended] = set()
        self.epochs: list[str] = []  # in the order in which they began
        self.cursors: dict[str, dict[str, Place]] = {}
        self._most = most
        self._run = 0
        self._inboxes: dict[str, _Inbox] = {}
        self._before: list[tuple[int, dict[str, _Inbox]]] = []  # how much was appended, and what there was

    def append(self, key: str, op: int, body: bytes, ttl_ms: int) -> Appended:
        """Accept a message."""
        self._before = [*self._before[1 - _KEPT_STATES :], (len(self.appended), dict(self._inboxes))]
        it = self._inboxes[key] = copy.copy(self._inboxes.get(key, _Inbox()))
        it.log = dict(it.log)
        chain, offset = it.position.chain, it.position.last + 1
        if it.run != self._run:
            epoch = f"e{len(self.epochs)}"
            self.epochs.append(epoch)
            it.run, chain = self._run, (*chain, Place(epoch, offset))[-16:]
        for old in list(it.log.values()):
            if old.expires_ms > self.now_ms:
                break
            del it.log[old.offset]
        kept = Kept(offset, f"p{len(self.appended)}", Message(op, body), self.now_ms + ttl_ms, self.now_ms)
        it.log[offset] = kept
        appended = Appended(key, Place(chain[-1].epoch, offset), kept)
        self.appended.append(appended)
        self.by_push[kept.push_id] = appended
        it.position = Position(chain, offset, self._trim(it))
        return appended

    def _trim(self, it: _Inbox) -> int:
        trimmed = it.position.trimmed
        while len(it.log) > self._most:
            oldest = it.log.pop(next(iter(it.log)))
            if oldest.expires_ms > self.now_ms:
                trimmed = oldest.offset
                self.trimmed.add(self.by_push[oldest.push_id])
        return trimmed

    def remove(self, push_id: str) -> None:
        """Take a message out, as a cancel does."""
        self.removed.add(push_id)
        for it in self._inboxes.values():
            it.log = {offset: kept for offset, kept in it.log.items() if kept.push_id != push_id}

    def restart(self, losing: int = 0) -> None:
        """Become another run, without what the last *losing* appends did."""
        self._run += 1
        if losing and self._before:
            count, self._inboxes = self._before[-min(losing, len(self._before))]
            self.lost |= set(self.appended[count:])
        self._before = []

    def wipe(self) -> None:
        """Forget all messages, and cursors too."""
        self.wiped |= set(self.appended)
        self._inboxes, self._before = {}, []
        self.cursors = {}

    def position(self, key: str) -> Position:
        """Say how far *key* reaches."""
        return self._inboxes.get(key, _Inbox()).position

    def stored(self, key: str) -> dict[Place, Kept]:
        """Give what is there of *key* and has not expired."""
        it = self._inboxes.get(key, _Inbox())
        return {
            Place(it.position.epoch_of(offset), offset): kept
            for offset, kept in it.log.items()
            if kept.expires_ms > self.now_ms
        }

    def read(self, key: str, after: int, limit: int) -> Page:
        """Read a page."""
        log = self._inboxes.get(key, _Inbox()).log
        entries = [(f"{offset}-0", _fields(log[offset])) for offset in [each for each in log if each > after][:limit]]
        return _page(key, after, self.position(key), entries, limit, self.now_ms)

    def acked(self, session_key: str, keys: Sequence[str]) -> Mapping[str, Place]:
        """Say how far *session_key* has acked *keys*."""
        known = self.cursors.get(session_key, {})
        return {key: known[key] for key in keys if key in known}

    def write_cursor(self, session_key: str, key: str, place: Place) -> None:
        """Note how far it has acked *key*; never back within an epoch."""
        known = self.cursors.setdefault(session_key, {})
        if key not in known or known[key].epoch != place.epoch or known[key].offset < place.offset:
            known[key] = place


def _fields(kept: Kept) -> list[str]:
    body, times = kept.message.body.decode(), (str(kept.expires_ms), str(kept.accepted_ms))
    return ["p", kept.push_id, "o", str(kept.message.op), "b", body, "x", times[0], "a", times[1]]
