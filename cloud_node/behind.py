"""The sessions of one key that are not where the others are: those whose beginning is being looked up, and each cursor
of those that catch up.  No I/O; the hub's thread only.

A cursor may also be ahead of the node: a session that comes from another node may have seen what has not been heard of
here yet.  It is live again when the node has come there.
"""

from collections.abc import Callable, Iterable

from cloud_node.cursor import follow, place_of
from cloud_node.hub import Session
from cloud_node.wire.recipients import Recipients
from proto.message import Place
from store.inbox import Position

TellGap = Callable[[Iterable[Session], str, Place], None]


class Behind:
    """See the module.

    *undecided* are those whose beginning is being looked up, each with a ticket; *cursors* those who catch up.
    """

    __slots__ = ("_live", "cursors", "undecided")

    def __init__(self) -> None:
        self.undecided: dict[Session, int] = {}
        self.cursors: dict[Session, int] = {}
        self._live: tuple[Recipients, Recipients] | None = None

    def __bool__(self) -> bool:
        return bool(self.cursors or self.undecided)

    def __contains__(self, session: Session) -> bool:
        return session in self.cursors or session in self.undecided

    def without(self, takers: Recipients) -> Recipients:
        """Give *takers* without those who are not where the others are: the same object, as long as nothing changes.

        So one who lags behind costs a room of thousands a look through them once, not at each message.
        """
        if self._live is None or self._live[0] is not takers:
            lagging = {session.connection for session in (*self.undecided, *self.cursors)}
            self._live = takers, Recipients([each for each in takers.connections if each not in lagging])
        return self._live[1]

    def expect(self, session: Session, ticket: int) -> None:
        """Take note that it is to be decided where *session* begins."""
        self.undecided[session] = ticket
        self._live = None

    def begin(self, session: Session, offset: int, head: int) -> None:
        """Decide that an undecided session goes on after *offset*; at *head* it is like the others."""
        if session in self.undecided:
            self._live = None
            del self.undecided[session]
            if offset != head:
                self.cursors[session] = offset

    def leave(self, session: Session) -> None:
        """Forget *session*."""
        self._live = None
        self.undecided.pop(session, None)
        self.cursors.pop(session, None)

    def reached(self, sessions: Iterable[Session], offset: int) -> None:
        """Move the cursors of those who are still there."""
        for session in sessions:
            if session in self.cursors:
                self.cursors[session] = offset

    def drop_at(self, head: int) -> None:
        """Let go of those who are where the others are."""
        if self.cursors:
            for session in [each for each, offset in self.cursors.items() if offset == head]:
                del self.cursors[session]
                self._live = None

    def needs(self, before: int, is_slow: Callable[[Session], bool]) -> list[int]:
        """List the cursors before *before*, without those of sessions that are slow."""
        return [offset for session, offset in self.cursors.items() if offset < before and not is_slow(session)]

    def groups(self, after: int, through: int, is_slow: Callable[[Session], bool]) -> list[tuple[int, list[Session]]]:
        """Group by cursor those from *after* to before *through* that are not slow."""
        groups: dict[int, list[Session]] = {}
        for session, offset in self.cursors.items():
            if after <= offset < through and not is_slow(session):
                groups.setdefault(offset, []).append(session)
        return list(groups.items())

    def pass_lost(self, after: int, through: int, to: int, is_slow: Callable[[Session], bool]) -> list[Session]:
        """Move to *to* those from *after* up to *through* that are not slow; gives who they are."""
        moved = [each for each, offset in self.cursors.items() if after <= offset <= through and not is_slow(each)]
        self.reached(moved, to)
        return moved

    def pass_trimmed(self, position: Position, tell_gap: TellGap) -> None:
        """Move those whose next message was trimmed to where there is one again, and tell them."""
        for session, offset in list(self.cursors.items()):
            if offset < position.trimmed:
                self.cursors[session] = position.trimmed
                tell_gap((session,), "trimmed", place_of(position.trimmed, position))

    def follow_epochs(self, known: Position, position: Position, tell_gap: TellGap) -> bool:
        """Find each cursor's place in another chain; tells whether one has moved."""
        moved = False
        for session, offset in list(self.cursors.items()):
            start = follow(offset, known, position)
            moved = moved or start.offset != offset
            self.cursors[session] = start.offset
            if not start.recovered:
                tell_gap((session,), "epoch", place_of(start.offset, position))
        return moved
