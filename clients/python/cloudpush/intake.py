"""From what a connection brings to what waits for the handler: decides what is new, and keeps the order.

Runs on the packets' thread of the current connection; what an older one still brings is dropped.  Refuses to note
anything as arrived before there is room for it.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudpush.connection import Behind, Connection
from cloudpush.cursors import Cursors, Found, Place, Verdict
from cloudpush.events import Gap, Message, Ready, gap_of, message_of, place_of, ready_of
from cloudpush.waiting import Waiting

_ROOM_WITHIN_S = 10.0  # well below the time after which a node misses our answer to its ping


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message; without *hand*, only its cursor moves."""

    message: Message
    hand: bool


@dataclass(frozen=True, slots=True)
class Started:
    """The session began (*ready*), joined a room, or has lost messages: keys go on at *starts*, *gaps* were found."""

    ready: Ready | None
    starts: Mapping[str, Place]
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone; another one is made."""

    reason: str


Item = Arrived | Started | Lost


@dataclass(slots=True)
class Intake:
    """The way in.  *lock* guards *cursors* and :attr:`current`."""

    waiting: Waiting[Item]
    lock: threading.Lock = field(default_factory=threading.Lock)
    cursors: Cursors = field(default_factory=Cursors)
    on_ready: Callable[[Connection, Ready], None] = lambda _connection, _ready: None
    current: Connection | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, connection: Connection, event: str, said: Any) -> None:
        """Take one event of *connection*; raises Behind, or KeyError, TypeError, ValueError for what is not ours."""
        if event == "push":
            self._push(connection, message_of(said))
        elif event == "gap":
            self._gap(connection, gap_of(said))
        else:
            ready = ready_of(said)
            if self._ready(connection, ready):
                self.on_ready(connection, ready)

    def joined(self, connection: Connection, key: str, answer: Any) -> None:
        """Take the answer to a join of the room whose key is *key*: where it begins."""
        if not isinstance(answer, Mapping) or "cursor" not in answer:
            return
        place, whole = place_of(answer["cursor"]), answer.get("recovered") is not False
        with self.lock:
            if connection is self.current:
                self.waiting.put(self._started(None, {key: place}, {key: whole}))

    def _push(self, connection: Connection, message: Message) -> None:
        self._room_for(connection)
        with self.lock:
            if connection is not self.current:
                return
            verdict = self.cursors.arrive(message.key, message.place, message.push_id)
            self.counts[verdict.name] += 1
            if verdict is Verdict.HAND or (verdict is Verdict.SKIP and message.durable):
                self.waiting.put(Arrived(message, hand=verdict is Verdict.HAND))

    def _gap(self, connection: Connection, gap: Gap) -> None:
        self._room_for(connection)
        with self.lock:
            if connection is self.current:
                found = self.cursors.arrive_gap(gap.key, gap.place)
                if found is not Found.NOTHING:
                    starts = {gap.key: gap.place} if found is Found.LOST_AND_MOVED else {}
                    self.waiting.put(Started(None, starts, (gap,)))

    def _ready(self, connection: Connection, ready: Ready) -> bool:
        self._room_for(connection)
        with self.lock:
            if connection is not self.current:
                return False
            self.cursors.arrive_connection()
            self.waiting.put(self._started(ready, ready.cursors, ready.recovered))
            return True

    def _started(self, ready: Ready | None, places: Mapping[str, Place], recovered: Mapping[str, bool]) -> Started:
        """Take where keys begin; a key that is not *recovered* may still be whole for us, who have what waits."""
        starts: dict[str, Place] = {}
        gaps: list[Gap] = []
        for key in dict.fromkeys((*places, *recovered)):
            place = places.get(key, Place("", 0))
            if recovered.get(key, True):
                if self.cursors.arrive_start(key, place):
                    starts[key] = place
                continue
            found = self.cursors.arrive_gap(key, place)
            if found is Found.LOST_AND_MOVED:
                starts[key] = place
            if found is not Found.NOTHING:
                gaps.append(Gap(key, "not recovered", place))
        return Started(ready, starts, tuple(gaps))

    def _room_for(self, connection: Connection) -> None:
        """Wait for room.  Nobody else takes it: what is put besides is bounded by the number of connects and joins."""
        if connection is self.current and not self.waiting.until_room(_ROOM_WITHIN_S):
            raise Behind("the handler is behind")
