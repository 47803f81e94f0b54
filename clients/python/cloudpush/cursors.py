"""What a listener has had, key by key: which message is new, where to go on, what to acknowledge.  Pure.

Each message is looked at twice: when it *arrives*, in the order in which the node sent it, and when it is *done*, that
is when its handler has returned.  In between it waits.  A key's cursors:

- ``taken``: the place of the last one that arrived; a message of its epoch is new if it is past that, a message of
  another epoch is newer.
- ``done``: the place of the last one that was handled.
- ``kept``: ``done`` as it was written down last.  A node takes the cursor with which a session connects for an ack, so
  this is what a new connection goes on after, even if more has arrived: what waits comes again then, and is known by
  its place, whatever epochs it is of.

A new message whose push was handed over under another key only moves the cursor.  Offsets mean something in their own
epoch only, so nothing is acknowledged whose epoch the session has left.

Bounded: cursors of the 1,000 keys that moved last, of which the 200 last are sent at a connect; the last 2,000 pushes
of each kind, so that a flood of ephemeral ones does not make durable ones forgotten; 64 are kept for a restart.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

MOST_RESUMED = 200
_MOST_KEYS = 1000
_SEEN = 2000  # more than an inbox holds: all of it comes again to a session whose epoch is forgotten
SEEN_KEPT = 64


class Place(NamedTuple):
    """A place in a key's inbox; epoch "" is a time when nothing was stored yet."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class State:
    """What is kept for a restart: the *done* cursors, the pushes handled last, and a key that a node made up."""

    cursors: Mapping[str, Place] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    key: str | None = None


class Verdict(Enum):
    """What to do with a message that arrived."""

    HAND = "hand it over"
    SKIP = "handed over under another key already: only its cursor moves"
    DROP = "had before"


class Found(Enum):
    """What a gap that a node tells means here."""

    NOTHING = "nothing was lost: we have it"
    LOST = "messages were lost; our cursor stays"
    LOST_AND_MOVED = "messages were lost; the cursor is where the node goes on, once its turn comes"


class Cursors:
    """One listener's; not thread-safe."""

    def __init__(self, state: State | None = None) -> None:
        kept = state or State()
        self._done: OrderedDict[str, Place] = OrderedDict(kept.cursors)
        self._taken = OrderedDict(self._done)
        self._begun: dict[str, Place] = {}
        self._waiting: dict[str, set[Place]] = {}
        self._durable = _Window(kept.seen)
        self._ephemeral = _Window()
        self._handled = _Window(kept.seen)
        self._kept: Mapping[str, Place] = kept.cursors
        self._acked: dict[str, Place] = {}
        self._asked: dict[str, Place] = {}
        self._open = False

    def resume(self) -> dict[str, Place]:
        """Say where a new connection goes on; those that moved last, if there are too many."""
        places = {**self._begun, **self._kept}
        return {key: places[key] for key in list(self._taken)[-MOST_RESUMED:] if key in places}

    def arrive_connection(self) -> None:
        """Note that the node said ``ready``: acks have somewhere to go, and those without an answer go again."""
        self._asked.clear()
        self._open = True

    def lose_connection(self) -> None:
        """Note that acks have nowhere to go."""
        self._open = False

    def arrive_start(self, key: str, place: Place) -> bool:
        """Note that the node begins at *place*; whether it counts: there was no cursor.

        Then :meth:`finish_start` is due in its turn.
        """
        if key in self._taken:
            return False
        _move(self._taken, key, place)
        self._begun[key] = place
        return True

    def arrive_gap(self, key: str, place: Place) -> Found:
        """Note that the node says that it has lost messages, and goes on after *place*."""
        last = self._taken.get(key)
        if last is not None and last.epoch == place.epoch and place.offset <= last.offset:
            done = self._kept.get(key, place)
            if done.epoch != place.epoch or done.offset <= place.offset:
                return Found.NOTHING  # what it has lost waits here, or is done
            self._acked[key] = done  # it has lost what it gave us: those offsets are numbers of nothing
        if last is not None and self._is_behind(key, last, place):
            return Found.LOST  # where we are, the next message says
        _move(self._taken, key, place)
        return Found.LOST_AND_MOVED

    def arrive(self, key: str, place: Place | None, push_id: str) -> Verdict:
        """Decide about a message; *place* is None for an ephemeral one."""
        if place is None:
            return Verdict.HAND if self._ephemeral.add(push_id) else Verdict.DROP
        last = self._taken.get(key)
        if place in self._waiting.get(key, ()) or (
            last is not None and last.epoch == place.epoch and place.offset <= last.offset
        ):
            return Verdict.DROP
        _move(self._taken, key, place)
        self._waiting.setdefault(key, set()).add(place)
        return Verdict.HAND if self._durable.add(push_id) else Verdict.SKIP

    def _is_behind(self, key: str, last: Place, place: Place) -> bool:
        """Whether *place* may be before something that waits: then it is no cursor for after that."""
        return key in self._waiting and (last.epoch != place.epoch or place.offset <= last.offset)

    def finish_start(self, key: str, place: Place) -> None:
        """Take *place* as the cursor, now that all that arrived before it is done; nobody needs to ack it."""
        if key in self._taken:
            _move(self._done, key, place)
            self._acked[key] = place

    def finish(self, key: str, place: Place, push_id: str) -> None:
        """Note that a durable message is done; one of a key that was given up meanwhile leaves no cursor."""
        self._handled.add(push_id)
        if waiting := self._waiting.get(key):
            waiting.discard(place)
            if not waiting:
                del self._waiting[key]
        if key in self._taken:
            _move(self._done, key, place)

    def forget(self, key: str) -> None:
        """Drop the cursor of a key that the session gave up."""
        for cursors in (self._done, self._taken, self._begun, self._waiting, self._acked, self._asked):
            cursors.pop(key, None)
        self._kept = {kept: place for kept, place in self._kept.items() if kept != key}

    def acks(self) -> dict[str, int]:
        """Give the offsets to acknowledge now, and take them as asked until the connection is lost."""
        due: dict[str, int] = {}
        if not self._open:
            return due
        for key, place in self._kept.items():
            taken = self._taken.get(key)
            # A place that the node has stepped back from, or of an epoch that was left, is a number of nothing.
            current = taken is not None and taken.epoch == place.epoch and place.offset <= taken.offset
            if current and place.offset and place not in (self._acked.get(key), self._asked.get(key)):
                due[key] = place.offset
                self._asked[key] = place
        return due

    def acked(self, offsets: Mapping[str, int]) -> None:
        """Note what the node says that it knows as acknowledged, of what was asked."""
        for key, offset in offsets.items():
            asked = self._asked.get(key)
            if asked is not None and asked.offset <= offset:
                self._acked[key] = asked

    def kept(self, state: State) -> None:
        """Note that a restart would go on from *state*: what it holds may be acknowledged."""
        self._kept = state.cursors

    def state(self, key: str | None = None) -> State:
        """Give what is to be kept for a restart."""
        return State(dict(self._done), self._handled.last(SEEN_KEPT), key)


class _Window:
    """The last pushes of one kind."""

    def __init__(self, push_ids: Iterable[str] = ()) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict.fromkeys(push_ids)

    def add(self, push_id: str) -> bool:
        """Note a push; False if it is here already."""
        if push_id in self._seen:
            return False
        self._seen[push_id] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        return True

    def last(self, count: int) -> tuple[str, ...]:
        """Give the newest ones, oldest first."""
        return tuple(self._seen)[-count:]


def _move(cursors: OrderedDict[str, Place], key: str, place: Place) -> None:
    cursors[key] = place
    cursors.move_to_end(key)
    if len(cursors) > _MOST_KEYS:
        cursors.popitem(last=False)
