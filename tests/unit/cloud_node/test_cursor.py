"""Where a session begins: each case of a cursor and an inbox, as a table."""

import pytest

from cloud_node.cursor import Start, follow, fresh, place_of, resume
from proto.message import Place
from store.inbox import Position

_EMPTY = Position()
_ONE = Position((Place("a", 1),), 10)
_TRIMMED = Position((Place("a", 1),), 10, 4)
_THREE = Position((Place("a", 1), Place("b", 9), Place("c", 13)), 20)
_OLD = Position((Place("b", 9), Place("c", 13)), 20)  # its first epoch is not remembered


@pytest.mark.parametrize(
    ("cursor", "position", "start"),
    [
        (Place("", 0), _EMPTY, Start(0, True)),
        (Place("", 0), _ONE, Start(0, True)),
        (Place("", 0), _TRIMMED, Start(4, False)),
        (Place("", 7), _OLD, Start(7, True)),
        (Place("", 30), _OLD, Start(0, False)),
        (Place("a", 0), _ONE, Start(0, True)),
        (Place("a", 6), _ONE, Start(6, True)),
        (Place("a", 10), _ONE, Start(10, True)),
        (Place("a", 11), _ONE, Start(10, False)),  # it has seen what the store has lost
        (Place("a", 3), _TRIMMED, Start(4, False)),
        (Place("a", 4), _TRIMMED, Start(4, True)),
        (Place("a", 8), _THREE, Start(8, True)),
        (Place("a", 9), _THREE, Start(8, False)),
        (Place("b", 12), _THREE, Start(12, True)),
        (Place("b", 13), _THREE, Start(12, False)),
        (Place("c", 20), _THREE, Start(20, True)),
        (Place("x", 6), _ONE, Start(0, False)),
        (Place("x", 6), _TRIMMED, Start(4, False)),
        (Place("a", 6), _EMPTY, Start(0, False)),
        (Place("a", 6), _OLD, Start(0, False)),
    ],
)
def test_who_has_a_cursor_goes_on_after_it_and_is_told_of_a_loss(
    cursor: Place, position: Position, start: Start
) -> None:
    assert resume(cursor, position) == start


@pytest.mark.parametrize(
    ("offset", "known", "position", "start"),
    [
        (0, _EMPTY, _ONE, Start(0, True)),
        (6, _ONE, _THREE, Start(6, True)),
        (10, _ONE, _THREE, Start(8, False)),
        (20, _THREE, _OLD, Start(20, True)),
        (3, _THREE, _OLD, Start(0, False)),
        (0, _ONE, _EMPTY, Start(0, True)),
        (6, _ONE, _EMPTY, Start(0, False)),
        (6, _ONE, Position((Place("x", 1),), 9, 3), Start(3, False)),
        (3, _ONE, Position((Place("a", 1), Place("b", 9)), 20, 5), Start(3, True)),  # who was trimmed is told of that
        (13, _THREE, Position((Place("a", 1), Place("b", 9)), 14), Start(12, False)),  # what c followed is still there
        (13, _THREE, Position((Place("a", 1), Place("d", 9)), 14), Start(8, False)),
        (8, _THREE, Position((Place("a", 1), Place("d", 9)), 14), Start(8, True)),
        (20, _OLD, Position((Place("x", 1),), 5), Start(0, False)),
    ],
)
def test_a_place_is_found_again_when_the_epochs_change(
    offset: int, known: Position, position: Position, start: Start
) -> None:
    assert follow(offset, known, position) == start


@pytest.mark.parametrize(
    ("position", "from_start", "history", "offset"),
    [
        (_EMPTY, True, 0, 0),
        (_EMPTY, False, 5, 0),
        (_ONE, True, 0, 0),
        (_ONE, False, 0, 10),
        (_ONE, False, 3, 7),
        (_ONE, False, 30, 0),
        (_TRIMMED, True, 0, 4),
        (_TRIMMED, False, 30, 4),
    ],
)
def test_who_has_none_begins_with_all_or_with_the_last_few(
    position: Position, from_start: bool, history: int, offset: int
) -> None:
    assert fresh(position, from_start=from_start, history=history) == Start(offset, None)


def test_a_place_has_the_epoch_of_its_offset() -> None:
    assert [place_of(offset, _OLD).epoch for offset in (0, 8, 9, 12, 13, 21)] == ["", "", "b", "b", "c", "c"]
    assert place_of(3, _EMPTY) == Place("", 3)
