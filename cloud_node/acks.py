"""What sessions have: handed to them, and acked by them; noted on the hub's thread, written behind by the ledger.

An ack is cumulative: whoever acks an offset has everything of that key up to it.  It comes as an ``ack`` event, or as
the answer to a push, whose number says which message it was.  Refuses to wait and to do I/O.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cloud_node.hub import Session
from proto.errors import Refused
from proto.message import Place

_MOST_IDS = 16_384
_MOST_ANSWERS = 1_000_000  # that are remembered, so that each session counts once
_MOST_KEYS = 1_000
_LOOK_BACK = 64  # messages, where nothing was ever written down
_SHOWN = 64
_NOTHING = Place("", 0)


class Ledger(Protocol):
    """What writes it down; see ledger.py."""

    def handed(self, push_id: str, key: str, place: Place | None, sessions: int) -> None: ...  # noqa: D102
    def acked(self, push_id: str, key: str) -> None: ...  # noqa: D102
    def acked_before(self, key: str, after: int, through: int) -> None: ...  # noqa: D102
    def cursor(self, session_key: str, key: str, place: Place) -> None: ...  # noqa: D102


class Reach(Protocol):
    """What is known here of a key's messages; see durable.py."""

    def reach(self, session: Session, key: str) -> Place: ...  # noqa: D102
    def place(self, key: str, offset: int) -> Place: ...  # noqa: D102
    def seen(self, key: str, place: Place) -> int: ...  # noqa: D102
    def pushes(self, key: str, after: int, through: int) -> "list[Handed]": ...  # noqa: D102


class Handed(NamedTuple):
    """A push that was handed to somebody here, as far as is needed when it is acked."""

    push_id: str
    op: int


class _Answerable(NamedTuple):
    """A push that clients may answer; *answered* is for one without a place: who did."""

    keys: Sequence[str]
    push_id: str
    place: Place | None
    answered: set[str]


class Acks:
    """See the module."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last_id = 0
        self._by_id: OrderedDict[int, _Answerable] = OrderedDict()
        self._answers = 0
        self.most_answers = _MOST_ANSWERS
        self.known: Reach

    def new_id(self, keys: Sequence[str], push_id: str, place: Place | None) -> int:
        """Give the number by which clients may answer a push to *keys*; with a *place* there is one key."""
        self._last_id += 1
        self._by_id[self._last_id] = _Answerable(keys, push_id, place, set())
        self._bound()
        return self._last_id

    def handed(self, key: str, push_id: str, place: Place | None, sessions: int) -> None:
        """Take down that a message was handed to so many sessions."""
        self._ledger.handed(push_id, key, place, sessions)

    def answered(self, session: Session, ack_id: int) -> None:
        """Take the answer of *session* to a push; a number that is not known (any more) means nothing."""
        it = self._by_id.get(ack_id)
        if it is None:
            return
        keys = [key for key in it.keys if key in session.keys]
        if it.place is not None:
            for key in keys:
                if self.known.place(key, it.place.offset) == it.place:  # else the store lost it, and gave it anew
                    self._acked(session, key, it.place.offset)
        elif keys and session.sid not in it.answered:
            it.answered.add(session.sid)
            self._answers += 1
            self._bound()
            for key in keys:
                self._ledger.acked(it.push_id, key)

    def take(self, session: Session, offsets: object) -> dict[str, int]:
        """Take an ``ack`` event; gives what is acked now of each key named.  Raises Refused for what is no ack."""
        if not isinstance(offsets, dict) or len(offsets) > _MOST_KEYS:
            raise Refused("invalid_ack", f"ack: must be an object of at most {_MOST_KEYS} keys and offsets", "ack")
        for key, offset in offsets.items():
            if key not in session.keys:
                raise Refused("invalid_ack", f"ack: this session does not answer to {key[:_SHOWN]!r}", "ack")
            if type(offset) is not int or offset < 0:
                raise Refused("invalid_ack", f"ack: the offset of {key[:_SHOWN]!r} must be an integer from 0 on", "ack")
        return {key: self._acked(session, key, offset) for key, offset in offsets.items()}

    def begun(self, session: Session, key: str, place: Place) -> None:
        """Take down where a session begins: what came before it, it does not ack."""
        session.acked[key] = place

    skipped = begun  # what it has lost it does not ack either

    def resumed(self, session: Session, key: str, has: Place, known: Place | None) -> None:
        """Take a cursor that a session resumes from for an ack: *known* is the last one that was written down.

        What lies between was acked to a node that could not write it down any more, or never acked at all.
        """
        session.acked[key] = has
        after = known.offset if known is not None and known.epoch == has.epoch else max(0, has.offset - _LOOK_BACK)
        if after >= has.offset:
            return
        if session.accepts is None:
            self._ledger.acked_before(key, after, has.offset)
        else:  # what is stored there it may never have been handed
            self._note(session, key, after, has.offset)
        self._ledger.cursor(session.identity.key, key, has)

    def _bound(self) -> None:
        while len(self._by_id) > _MOST_IDS or self._answers > self.most_answers:
            self._answers -= len(self._by_id.popitem(last=False)[1].answered)

    def _acked(self, session: Session, key: str, offset: int) -> int:
        before = self.known.seen(key, session.acked.get(key, _NOTHING))
        if not before < offset <= self.known.reach(session, key).offset:
            return before
        place = session.acked[key] = self.known.place(key, offset)
        self._note(session, key, before, offset)
        self._ledger.cursor(session.identity.key, key, place)
        return offset

    def _note(self, session: Session, key: str, after: int, through: int) -> None:
        for push_id, op in self.known.pushes(key, after, through):
            if session.takes(op):
                self._ledger.acked(push_id, key)
