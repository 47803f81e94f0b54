"""One key's inbox, as this node follows it for the sessions that answer to the key.  No I/O; the hub's thread only.

Sessions that have been handed everything up to *head* are *live* and share it: a message that is next in line is
handed to all of them at once, and nothing is kept for each.  Those that lack something are *behind*, each with its own
cursor; they are served from the *tail* (what was handed out lately), or from pages that are read from the inbox.  A
page is read once, from the oldest cursor, and serves whoever it can, so a thousand sessions that miss the same cost one
read.

Interleavings, and how each ends:

1. *A message comes twice, or late* (a task done twice, a page that holds it too): its offset is not after head, and
   it is dropped.
2. *A message comes early* (workers are not ordered): it is set aside, and the gap before it is read; whatever comes
   first, the missing message or the page, moves head, and the rest follows from what was set aside.
3. *A session joins while messages come*: it is behind, undecided, from the moment it answers to the key; where it
   begins is decided from a read that came later than the directory knew the key.  So what was accepted before that is
   read, and what is accepted after it is sent here.
4. *A page comes late*: it is used for those whose cursor it covers; for the others it changes nothing.
5. *The epoch changes* (the store restarted): nothing is handed out until a page says how the epochs follow each other.
   Nobody gets a message twice for that; who may have missed one is told.
6. *The inbox was trimmed past a cursor*: its session is told, and goes on from there.
7. *The store forgot what was sent here* (it restarted between append and now): what was set aside is handed out
   although no page holds it.
8. *A page was read before something was heard of* and says nothing of it: only a page that was asked for later can say
   that there is no such message.
"""

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from cloud_node.acks import Handed
from cloud_node.behind import Behind
from cloud_node.cursor import follow, place_of
from cloud_node.hub import Session
from proto.message import KeyOutcome, Outcome, Place
from store.inbox import Kept, Page, Position

if TYPE_CHECKING:
    from cloud_node.handing import Handing

PAGE_BYTES = 128 * 1024  # handed to one session before it is looked at again
_PAGE_MESSAGES = 64
_ASIDE = 16  # messages that came early

_QUEUED, _DUPLICATE, _EXPIRED, _NO_SESSION = (
    KeyOutcome(each) for each in (Outcome.QUEUED, Outcome.DUPLICATE, Outcome.EXPIRED, Outcome.NO_SESSION)
)


class Following:
    """See the module.  *head* is None until the inbox has been looked at."""

    __slots__ = (
        "_aside",
        "_asked",
        "_by_hint",
        "_for_head",
        "_heard",
        "_is_first",
        "_limit",
        "_unsure",
        "behind",
        "deferred",
        "head",
        "ids",
        "key",
        "position",
        "put_off",
        "reading",
        "tail",
        "tail_from",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.position = Position()
        self.head: int | None = None
        self.behind = Behind()
        self.deferred = False  # somebody is served a little later
        self.put_off = 0  # how often in a row nobody could be
        self.tail: deque[Kept] | None = None
        self.tail_from = 0  # everything after it, up to head, is in the tail
        self.ids: dict[int, Handed] | None = None  # of what was handed out here lately
        self.reading = False
        self._aside: dict[int, tuple[str, Kept]] | None = None  # with their epochs
        self._heard = 0  # the newest offset that anybody spoke of
        self._asked = 0  # what it was when a page was asked for: that page knows of all up to it
        self._by_hint = False  # nothing that was read confirms the epoch yet
        self._is_first = False  # nothing was ever appended to the key
        self._for_head = False  # the last page was read for those who are live
        self._unsure = False  # the epochs may have changed since a page was asked for
        self._limit = _PAGE_MESSAGES

    # What comes.

    def look(self, position: Position, hands: "Handing") -> None:
        """Take note of how far the inbox reaches: at first everybody is where it ends, later a difference is read."""
        if self.head is None:
            self.position, self.head = position, position.last
            self.tail_from = position.last
            self._is_first = not position.chain
            self._take_aside(hands)
        elif position.chain == self.position.chain:
            self._by_hint = False
            self.position = Position(position.chain, self.position.last, max(position.trimmed, self.position.trimmed))
            self._heard = max(self._heard, position.last)
        elif self._by_hint:  # what was read may be older
            self._unsure = True
        else:
            self._follow_epochs(position, hands)
            self._heard = max(self._heard, position.last)

    def hint(self, place: Place, kept: Kept, hands: "Handing") -> KeyOutcome:
        """Take a message that a worker sent."""
        if self.head is None:
            self._set_aside(place, kept)
            return _QUEUED
        if self._is_first and place.offset == 1 and not self.reading:
            self.position, self._by_hint, self._is_first = Position((place,)), True, False
        if place.offset <= self.head and place.epoch == self.position.epoch_of(place.offset):
            return self._was_handed(place.offset)
        if place.epoch != self.position.end.epoch:
            self._unsure = True
            return _QUEUED
        if place.offset != self.head + 1:
            self._set_aside(place, kept)
            return _QUEUED
        outcome = self._next(kept, hands)
        self._take_aside(hands)
        self.settle()
        return outcome

    def page(self, page: Page, hands: "Handing") -> None:
        """Take what was read."""
        self.reading = self._by_hint = False
        if self.head is None:
            self.look(page.position, hands)
        assert self.head is not None  # noqa: S101
        if page.position.chain != self.position.chain and self._follow_epochs(page.position, hands):
            self._unsure = True
            return
        self.position = page.position
        self._heard = max(self._heard, page.position.last)
        self._mind_size(page)
        if page.after <= self.head:
            self._move_on(page, hands)
        self._serve(page.messages, page.after, page.through, hands)
        lost = min(self._asked, self.tail_from)
        if not page.more and page.through < lost:
            # The store does not have, any more, what was handed out here before the page was asked for.
            moved = self.behind.pass_lost(page.after, page.through, lost, hands.is_slow)
            hands.tell_gap(self, moved, "epoch", place_of(lost, self.position))
            self.settle()

    def serve_from_tail(self, hands: "Handing") -> None:
        """Hand out what the tail has for those who are behind."""
        if self.head is not None and self.behind.cursors:
            self._serve(self.tail or (), self.tail_from, self.head, hands)

    def begin(self, session: Session, offset: int) -> bool:
        """Decide that *session* goes on after *offset*; tells whether the tail has what it lacks."""
        assert self.head is not None  # noqa: S101
        self.behind.begin(session, offset, self.head)
        return self.tail_from <= offset < self.head

    def pushes(self, after: int, through: int) -> list[Handed]:
        """Name the pushes, as far as they are remembered, whose messages come after *after* up to *through*."""
        ids = self.ids or {}
        if through - after > len(ids):
            return [handed for offset, handed in ids.items() if after < offset <= through]
        return [ids[offset] for offset in range(after + 1, through + 1) if offset in ids]

    def settle(self) -> None:
        """Let those who have caught up be live."""
        if self.head is not None:
            self.behind.drop_at(self.head)

    # What it needs.

    @property
    def lags(self) -> bool:
        """Whether somebody lacks what others have."""
        return self.head is not None and any(offset < self.head for offset in self.behind.cursors.values())

    def wanted(self, hands: "Handing") -> tuple[int, int] | None:
        """Say which page is to be read now: after which offset, and how many messages at most; None: none."""
        if self.head is None or self.reading:
            return None
        needs = self.behind.needs(self.tail_from, hands.is_slow)
        after = min(needs, default=self.head)
        if self._unsure or self._heard > self.head:
            # Those who are live wait for no one who has far to go, and the other way round.
            self._for_head = after + self._limit <= self.head and not self._for_head
            after = self.head if self._for_head else after
        elif not needs:
            return None
        self.reading, self._unsure, self._asked = True, False, max(self._heard, self.head)
        return after, self._limit

    # How it moves.

    def _was_handed(self, offset: int) -> KeyOutcome:
        """Say what became here of a message that head has passed, so that its receipt comes to an end."""
        if offset in (self.ids or ()):
            return _DUPLICATE
        return _QUEUED if self.behind else _NO_SESSION

    def _next(self, kept: Kept, hands: "Handing") -> KeyOutcome:
        self.head = kept.offset
        self._heard = max(self._heard, kept.offset)
        if hands.is_over(kept.expires_ms):
            return _EXPIRED
        outcome = hands.to_live(self, kept)
        if outcome.outcome is Outcome.DELIVERED:
            hands.keep(self, kept)
        else:
            self.tail, self.tail_from = None, self.head  # it may yet be cancelled, which only the inbox knows
        return outcome

    def _move_on(self, page: Page, hands: "Handing") -> None:
        """Move head along a page that begins at or before it."""
        assert self.head is not None  # noqa: S101
        if page.position.trimmed > self.head:
            self.head = self.tail_from = page.position.trimmed
            self.tail = None
            hands.tell_gap(self, hands.live(self), "trimmed", place_of(self.head, self.position))
        for kept in page.messages:
            if kept.offset > self.head:
                self._next(kept, hands)
        self.head = max(self.head, page.through)
        self._take_aside(hands)
        if not page.more and self.head < self._heard <= self._asked:
            # The store does not know what was heard of: it lost it.  What came here is still good.
            aside, self._aside = self._aside or {}, None
            for offset, (epoch, kept) in sorted(aside.items()):
                if offset > self.head and epoch == self.position.end.epoch:
                    self._next(kept, hands)
            self._heard = self.head

    def _take_aside(self, hands: "Handing") -> None:
        """Hand out what came early and is next now; forget what came to nothing."""
        while self._aside and self.head is not None:
            epoch, kept = self._aside.pop(self.head + 1, (None, None))
            if kept is None or epoch != self.position.end.epoch:
                self._aside = {offset: each for offset, each in self._aside.items() if offset > self.head} or None
                break
            self._next(kept, hands)

    def _set_aside(self, place: Place, kept: Kept) -> None:
        self._heard = max(self._heard, kept.offset)
        if self._aside is None:
            self._aside = {}
        if len(self._aside) < _ASIDE:
            self._aside[kept.offset] = (place.epoch, kept)

    def _follow_epochs(self, position: Position, hands: "Handing") -> bool:
        """Go over to another chain; tells whether somebody's place has moved, so that a page read before is no use."""
        assert self.head is not None  # noqa: S101
        known, self.position, self._is_first = self.position, position, False
        start = follow(self.head, known, position)
        moved = start.offset != self.head
        self.head = start.offset
        if not start.recovered:
            hands.tell_gap(self, hands.live(self), "epoch", place_of(start.offset, position))
        moved = self.behind.follow_epochs(known, position, partial(hands.tell_gap, self)) or moved
        if moved:
            self.tail, self.tail_from, self.ids, self._aside = None, self.head, None, None
            self._heard = position.last
        self._asked = 0
        return moved

    def _serve(self, messages: Iterable[Kept], after: int, through: int, hands: "Handing") -> None:
        """Hand to those who are behind, and whose cursor is from *after* to *through*, what comes after it."""
        self.behind.pass_trimmed(self.position, partial(hands.tell_gap, self))
        listed = list(messages)
        for offset, sessions in self.behind.groups(after, through, hands.is_slow):
            handed, reached = 0, through
            for kept in listed:
                if kept.offset <= offset:
                    continue
                if handed >= PAGE_BYTES:
                    reached = kept.offset - 1
                    break
                if not hands.is_over(kept.expires_ms):
                    hands.to_some(self, sessions, kept)
                    handed += len(kept.message.body)
            self.behind.reached(sessions, reached)
            self.put_off = 0
        self.settle()

    def _mind_size(self, page: Page) -> None:
        """Read about as much next time as can be handed out at once."""
        if page.messages:
            mean = sum(len(kept.message.body) for kept in page.messages) // len(page.messages) + 1
            self._limit = max(2, min(_PAGE_MESSAGES, 2 * PAGE_BYTES // mean))
