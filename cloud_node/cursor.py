"""Where a session begins in a key's inbox: from its cursor and how far the inbox reaches.  Pure."""

from typing import NamedTuple

from proto import keys as key_names
from proto.message import Place
from store.inbox import Position


class Start(NamedTuple):
    """*offset*: what comes after it is delivered.  *recovered*: nothing before it was missed; None: nobody asked."""

    offset: int
    recovered: bool | None


def start(key: str, cursor: Place | None, position: Position, history: int) -> Start:
    """Begin after *cursor*, if there is one."""
    if cursor is not None:
        return resume(cursor, position)
    return fresh(position, from_start=is_from_start(key), history=history)


def is_from_start(key: str) -> bool:
    """Tell keys that get all that is stored for them from those that begin where they are joined."""
    return key != key_names.ALL and key_names.room_of(key) is None


def resume(cursor: Place, position: Position) -> Start:
    """Begin after what *cursor* has seen.

    Not recovered: messages were trimmed that it has not seen; it has seen more of an epoch than the store still knows,
    so the store has lost messages; its epoch is not known any more, so everything that is there is new to it.
    """
    offset, whole = _find(cursor, position)
    return Start(max(offset, position.trimmed), whole and offset >= position.trimmed)


def follow(offset: int, known: Position, position: Position) -> Start:
    """Find in *position* the place that *offset* has in *known*, which was read before.

    Unlike :func:`resume` this knows which epochs came before: what an epoch that is gone followed may still be there.
    Not recovered: as there, but for what was trimmed.
    """
    epochs = {link.epoch for link in position.chain}
    cursor, whole = place_of(offset, known), True
    while cursor.epoch and cursor.epoch not in epochs:
        began = next(link.offset for link in known.chain if link.epoch == cursor.epoch)
        cursor, whole = place_of(began - 1, known), False
    found, is_there = _find(cursor if whole or cursor.epoch else Place("", 0), position)
    whole = whole and is_there
    return Start(found if whole else max(found, position.trimmed), whole)


def fresh(position: Position, *, from_start: bool, history: int = 0) -> Start:
    """Begin without a cursor: with all that is stored, or with the last *history* messages."""
    offset = 0 if from_start else max(0, position.last - history)
    return Start(max(offset, position.trimmed), None)


def place_of(offset: int, position: Position) -> Place:
    """Name the place of *offset*, as a cursor."""
    return Place(position.epoch_of(offset), offset)


def _find(cursor: Place, position: Position) -> tuple[int, bool]:
    """Give the offset of *cursor*, and whether the store has, or had, all that it has seen."""
    if not cursor.epoch and cursor.offset <= position.last:  # the key had no inbox then, or it is older than the chain
        return cursor.offset, True
    for number, link in enumerate(position.chain):
        if link.epoch == cursor.epoch:
            later = position.chain[number + 1 :]
            end = later[0].offset - 1 if later else position.last
            return min(cursor.offset, end), cursor.offset <= end
    return 0, False
