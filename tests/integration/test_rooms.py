"""Sessions join and leave rooms; each answer says in which rooms the session is now, or why nothing changed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Connect
from tests.integration.sending import delivered, fates, push
from tests.parts.clients import POLLING, WEBSOCKET
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
def test_who_joins_gets_the_pushes_of_the_room_and_who_leaves_does_not(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    session = connect(fleet.nodes[0], transports=transports, rooms=[name("first")])
    stays = connect(fleet.nodes[1], transports=transports)

    assert session.ask("join", name("second"))["rooms"] == [name("first"), name("second")]
    assert stays.ask("join", name("second"))["rooms"] == [name("second")]
    push_id = push(fleet, rooms=[name("second")])
    assert session.next_push()["push_id"] == stays.next_push()["push_id"] == push_id

    assert session.ask("leave", name("second")) == {"rooms": [name("first")]}
    push_id = push(fleet, rooms=[name("second")])
    assert stays.next_push()["push_id"] == push_id
    assert fates(fleet, push_id)["sessions"] == 1
    push(fleet, "last", rooms=[name("first")])
    assert session.next_msg() == "last"


def test_joining_twice_and_leaving_what_was_not_joined_change_nothing(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    session = connect(fleet.nodes[0])
    for _ in range(2):
        assert session.ask("join", name("r"))["rooms"] == [name("r")]
    assert session.ask("leave", name("other")) == {"rooms": [name("r")]}
    push_id = push(fleet, rooms=[name("r")])
    assert session.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)
    for _ in range(2):
        assert session.ask("leave", name("r")) == {"rooms": []}


@pytest.mark.parametrize(
    ("room", "problem"),
    [
        (7, "room: must be a string"),
        (None, "room: must be a string"),
        ("", "room: must not be empty"),
        ("a\x00", "room: must not hold control characters"),
        (" a", "room: must not begin or end with white space"),
        ("r" * 252, "room: must be at most 251 bytes, not 252"),
    ],
)
def test_a_room_that_cannot_be_is_refused_by_name(fleet: Fleet, connect: Connect, room: Any, problem: str) -> None:
    session = connect(fleet.nodes[0])
    assert session.ask("join", room) == _error("invalid_room", problem)
    assert session.ask("leave", "none") == {"rooms": []}


def test_the_room_after_the_last_is_refused_and_the_others_stay(fleet: Fleet, connect: Connect, name: Name) -> None:
    rooms = [name(f"r{number}") for number in range(100)]
    session = connect(fleet.nodes[0], rooms=rooms)
    assert session.ask("join", "one more") == _error("too_many_rooms", "room: at most 100 rooms a session")
    assert session.ask("join", rooms[5])["rooms"] == rooms
    push(fleet, rooms=rooms[99:])
    assert session.next_push()["key"] == f"room:{rooms[99]}"
