"""Durable messages: each session of a key gets what is in the key's inbox, in order, each message once a connection.

One :class:`Following` for each key that has sessions here (following.py says how they may interleave); here is what
joins them to the node: sessions come and go, messages come from workers, pages from the reader.  The hub's thread only.
Refuses to read the store (inbox_reader.py) and to write it (ledger.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from cloud_node import metrics
from cloud_node.acks import Acks, Handed
from cloud_node.cursor import is_from_start, place_of, resume, start
from cloud_node.following import Following
from cloud_node.handing import Handing, Sender
from cloud_node.hub import Hub, Session
from cloud_node.inbox_reader import Look
from cloud_node.tails import Tails
from proto.message import KeyOutcome, Outcome, Place
from store.inbox import Kept, Page, Position

_LATER_S, _LONGER = 0.02, 6  # and how often that is doubled, less one, while a session stays slow
_CHECKED_AT_ONCE = 500

_NO_SESSION, _FILTERED = KeyOutcome(Outcome.NO_SESSION), KeyOutcome(Outcome.FILTERED)
_TO_NOBODY = (Outcome.QUEUED, Outcome.NO_SESSION)  # so far

# What a session is told: for each key that it had a cursor for, whether nothing is lost; and where each key begins.
Opened = Callable[[Mapping[str, bool], Mapping[str, Place]], None]


class Reads(Protocol):
    """What is needed of the reader."""

    def look(self, look: Look) -> None: ...  # noqa: D102
    def read(self, key: str, after: int, limit: int, then: Callable[[Page], None]) -> None: ...  # noqa: D102
    def check(self, batches: Sequence[Sequence[str]]) -> None: ...  # noqa: D102


class Durable:
    """See the module.  *defer* runs a function on the hub's thread after so many seconds."""

    def __init__(
        self,
        hub: Hub,
        sender: Sender,
        acks: Acks,
        now_ms: Callable[[], int],
        defer: Callable[[float, Callable[[], object]], object],
        *,
        tail_bytes: int,
    ) -> None:
        self._hub = hub
        self.acks = acks
        self._defer = defer
        self._hands = Handing(hub, sender, acks, now_ms, Tails(tail_bytes))
        self._followings: dict[str, Following] = {}
        self._attached = 0
        self.reader: Reads
        acks.known = self

    # Sessions come and go.

    def attach(self, session: Session, keys: Iterable[str]) -> None:
        """Take note that *session* answers to *keys*; it gets durable messages once :meth:`open` has decided."""
        self._attached += 1
        for key in keys:
            it = self._followings.get(key)
            if it is None:
                it = self._followings[key] = Following(key)
            it.behind.expect(session, self._attached)

    def detach(self, session: Session, keys: Iterable[str]) -> None:
        """Forget that *session* answered to *keys*; the hub has forgotten already."""
        for key in keys:
            if (it := self._followings.get(key)) is not None:
                it.behind.leave(session)
                if not self._hub.holders(key):
                    del self._followings[key]

    def open(
        self,
        session: Session,
        cursors: Mapping[str, Place],
        opened: Opened,
        *,
        only: Sequence[str] = (),
        history: int = 0,
    ) -> None:
        """Find where *session* begins in each of its keys, or *only* in some, tell *opened*, and begin.

        *cursors* are the client's own; for other keys the last acked place counts, unless *history* says with how many
        of the last messages a room begins.
        """
        new = session.identity.made_up
        if new and (it := self._followings.get(session.identity.key)) is not None and it.head is None:
            it.look(Position(), self._hands)  # nobody could have pushed to it before
        asked = {key: self._ticket(session, key) for key in only or session.keys}
        unknown = [key for key in asked if not self._is_known(key, cursors.get(key), history, new=new)]
        acked = () if new else tuple(asked)
        begin = _Begin(session, asked, acked, cursors, history, opened)
        if unknown or acked:
            self.reader.look(Look(unknown, session.identity.key, acked, partial(self._begin, begin)))
        else:
            self._begin(begin, {}, {})

    def _ticket(self, session: Session, key: str) -> int:
        """Tell one attaching from another, so that the answer to a look is not taken for that to a later one."""
        it = self._followings.get(key)
        return 0 if it is None else it.behind.undecided.get(session, 0)

    def _is_known(self, key: str, cursor: Place | None, history: int, *, new: bool) -> bool:
        """Tell whether it is known here, without a look at the store, where a session with this *cursor* begins.

        It is not where the last acked place may count: another node may have come further than this one.
        """
        it = self._followings.get(key)
        if it is None or it.head is None or history:
            return False
        if cursor is None:
            return new and (not is_from_start(key) or it.tail_from == 0)
        return cursor.epoch == it.position.end.epoch and it.tail_from <= cursor.offset <= it.head

    def _begin(self, begin: "_Begin", positions: Mapping[str, Position], acked: Mapping[str, Place]) -> None:
        session = begin.session
        mine = {
            key: it
            for key, ticket in begin.asked.items()
            if ticket and (it := self._followings.get(key)) is not None and it.behind.undecided.get(session) == ticket
        }
        if not self._have_looked(mine, positions):
            then = partial(self._begin, begin)
            self.reader.look(Look(list(positions), session.identity.key, begin.acked, then))
            return
        recovered: dict[str, bool] = {}
        begins: dict[str, Place] = {}
        served: list[Following] = []
        for key, it in mine.items():
            position = positions.get(key) or Position(it.position.chain, it.head or 0, it.position.trimmed)
            cursor = begin.cursors.get(key) or (None if begin.history else acked.get(key))
            offset, whole = start(key, cursor, position, begin.history)
            begins[key] = place_of(offset, position)
            if whole is not None:
                recovered[key] = whole
            if whole and key in begin.cursors and not session.identity.made_up:
                self.acks.resumed(session, key, begins[key], acked.get(key))
            else:
                self.acks.begun(session, key, begins[key])
            if it.begin(session, offset):
                served.append(it)
        begin.opened(recovered, begins)
        for it in served:
            it.serve_from_tail(self._hands)
        for key in begins:
            self._drive(key)

    def _have_looked(self, mine: Mapping[str, Following], positions: Mapping[str, Position]) -> bool:
        """Have *positions* taken note of; tells whether they may be counted from: else a page comes first."""
        looked = {it: positions[key] for key, it in mine.items() if key in positions}
        for it, position in looked.items():
            it.look(position, self._hands)
        unlike = [it for it, position in looked.items() if it.position.chain != position.chain]
        for it in unlike:
            self._drive(it.key)
        return not unlike

    # What acks.py needs.

    def reach(self, session: Session, key: str) -> Place:
        """Give the place up to which *session* was handed *key*."""
        it = self._followings.get(key)
        if it is None or it.head is None or session in it.behind.undecided:
            return Place("", 0)
        return place_of(it.behind.cursors.get(session, it.head), it.position)

    def place(self, key: str, offset: int) -> Place:
        """Give *offset* with its epoch."""
        it = self._followings.get(key)
        return Place("", offset) if it is None else place_of(offset, it.position)

    def seen(self, key: str, place: Place) -> int:
        """Give how far *place*, maybe of an epoch that is over, reaches in the present one."""
        it = self._followings.get(key)
        if it is None or it.head is None:
            return 0
        return resume(place, Position(it.position.chain, it.head)).offset

    def pushes(self, key: str, after: int, through: int) -> list[Handed]:
        """See following.Following.pushes."""
        it = self._followings.get(key)
        return [] if it is None else it.pushes(after, through)

    # Messages and pages come.

    def deliver(self, key: str, place: Place, kept: Kept) -> KeyOutcome:
        """Take one message from a worker."""
        it = self._followings.get(key)
        if it is None:
            return _NO_SESSION
        outcome = it.hint(place, kept, self._hands)
        if outcome.outcome is Outcome.QUEUED or it.behind:
            self._drive(key)
        if outcome.outcome in _TO_NOBODY and not self._hub.takers(key, kept.message.op):
            return _FILTERED
        return outcome

    def _take_page(self, it: Following, page: Page) -> None:
        """Take what was read for *it*, unless all have left since; who has come back then asks anew."""
        metrics.INBOX_PAGES.inc()
        if self._followings.get(page.key) is it:
            it.page(page, self._hands)
            self._drive(page.key)

    def check_all(self) -> None:
        """Have all keys compared with the store: a message whose task came to nothing is found by this."""
        keys = [key for key, it in self._followings.items() if it.head is not None]
        starts = range(0, len(keys), _CHECKED_AT_ONCE)
        self.reader.check([keys[start : start + _CHECKED_AT_ONCE] for start in starts])

    def take_positions(self, positions: Mapping[str, Position]) -> None:
        """Take how far keys reach."""
        for key, position in positions.items():
            if (it := self._followings.get(key)) is not None and it.head is not None:  # else it is older
                it.look(position, self._hands)
                self._drive(key)

    def _drive(self, key: str) -> None:
        """Ask for what *key* lacks, or look at it again a little later."""
        it = self._followings.get(key)
        if it is None:
            return
        if (want := it.wanted(self._hands)) is not None:
            self.reader.read(key, *want, partial(self._take_page, it))
        elif it.lags and not it.reading and not it.deferred:
            it.deferred, it.put_off = True, min(it.put_off + 1, _LONGER)
            self._defer(_LATER_S * 2 ** (it.put_off - 1), partial(self._again, key))

    def _again(self, key: str) -> None:
        if (it := self._followings.get(key)) is not None:
            it.deferred = False
            it.serve_from_tail(self._hands)
            self._drive(key)


class _Begin(NamedTuple):
    """A session whose beginning is looked up.

    *asked*: its keys, with the ticket of its attaching to each; its last acked places in *acked* count.
    """

    session: Session
    asked: Mapping[str, int]
    acked: Sequence[str]
    cursors: Mapping[str, Place]
    history: int
    opened: Opened
