"""Where a session begins, as its client asks for it: what is refused, at which field, in which words."""

import pytest

from cloud_node.identity import Identity, Join, check_join, identify
from proto.errors import Refused
from proto.message import Place


def _identify(auth: object) -> Identity:
    return identify(auth, secret=None, new_key=lambda: "anon-1", max_rooms=3)


_MALFORMED: list[tuple[object, str, str, str]] = [
    ({"resume": 5}, "invalid_auth", "resume", "resume: Input should be a valid dictionary"),
    ({"resume": {"alice": 5}}, "invalid_auth", "resume['alice']", "resume['alice']: must be an object"),
    (
        {"resume": {"alice": {"epoch": "e"}}},
        "invalid_auth",
        "resume['alice'].offset",
        "resume['alice'].offset: Field required",
    ),
    (
        {"resume": {"alice": {"offset": 1}}},
        "invalid_auth",
        "resume['alice'].epoch",
        "resume['alice'].epoch: Field required",
    ),
    (
        {"resume": {"room:a": {"epoch": "e", "offset": -1}}},
        "invalid_auth",
        "resume['room:a'].offset",
        "resume['room:a'].offset: Input should be greater than or equal to 0",
    ),
    (
        {"resume": {"a": {"epoch": "e", "offset": 2**53}}},
        "invalid_auth",
        "resume['a'].offset",
        "resume['a'].offset: Input should be less than 9007199254740992",
    ),
    (
        {"resume": {"a": {"epoch": "e", "offset": True}}},
        "invalid_auth",
        "resume['a'].offset",
        "resume['a'].offset: Input should be a valid integer",
    ),
    (
        {"resume": {"a": {"epoch": "e", "offset": 1.5}}},
        "invalid_auth",
        "resume['a'].offset",
        "resume['a'].offset: Input should be a valid integer",
    ),
    (
        {"resume": {"a": {"epoch": 7, "offset": 1}}},
        "invalid_auth",
        "resume['a'].epoch",
        "resume['a'].epoch: Input should be a valid string",
    ),
    (
        {"resume": {"a": {"epoch": "e" * 33, "offset": 1}}},
        "invalid_auth",
        "resume['a'].epoch",
        "resume['a'].epoch: String should have at most 32 characters",
    ),
    (
        {"resume": {"a": {"epoch": "e", "offset": 1, "at": 2}}},
        "invalid_auth",
        "resume['a'].at",
        "resume['a'].at: unknown field",
    ),
    (
        {"resume": {"k" * 100: 1}},
        "invalid_auth",
        f"resume['{'k' * 64}']",
        f"resume['{'k' * 64}']: must be an object",
    ),
    (
        {"resume": {str(number): {"epoch": "", "offset": 0} for number in range(201)}},
        "invalid_auth",
        "resume",
        "resume: Dictionary should have at most 200 items after validation, not more",
    ),
]


@pytest.mark.parametrize(("auth", "code", "field", "message"), _MALFORMED, ids=lambda value: str(value)[:60])
def test_a_malformed_cursor_is_refused_by_name(auth: object, code: str, field: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        _identify(auth)
    assert (refused.value.code, refused.value.field, refused.value.message) == (code, field, message)


def test_the_cursors_of_a_client_are_places() -> None:
    resume = {"alice": {"epoch": "e", "offset": 0}, "room:a": {"epoch": "", "offset": 2**53 - 1}}
    assert _identify({"key": "alice", "resume": resume}).resume == {
        "alice": Place("e", 0),
        "room:a": Place("", 2**53 - 1),
    }
    assert _identify({"key": "alice", "resume": None}).resume == {}


@pytest.mark.parametrize(
    ("asked", "join"),
    [
        ("a", Join("a")),
        ({"room": "a"}, Join("a")),
        ({"room": "a", "history": 0}, Join("a")),
        ({"room": "a", "history": 1000}, Join("a", 1000)),
        ({"room": "a", "after": None}, Join("a")),
        ({"room": "a", "history": 3, "after": {"epoch": "e", "offset": 7}}, Join("a", 3, Place("e", 7))),
    ],
)
def test_a_join_names_a_room_or_says_where_to_begin_too(asked: object, join: Join) -> None:
    assert check_join(Identity("alice"), asked) == join


@pytest.mark.parametrize(
    ("asked", "code", "field", "message"),
    [
        (None, "invalid_room", "room", "room: must be a string"),
        (["a"], "invalid_room", "room", "room: must be a string"),
        ({}, "invalid_join", "room", "room: Field required"),
        ({"room": 5}, "invalid_join", "room", "room: Input should be a valid string"),
        ({"room": ""}, "invalid_room", "room", "room: must not be empty"),
        ({"room": "other"}, "forbidden_room", "room", "room: the token does not name room 'other'"),
        (
            {"room": "a", "history": -1},
            "invalid_join",
            "history",
            "history: Input should be greater than or equal to 0",
        ),
        (
            {"room": "a", "history": 1001},
            "invalid_join",
            "history",
            "history: Input should be less than or equal to 1000",
        ),
        ({"room": "a", "history": True}, "invalid_join", "history", "history: Input should be a valid integer"),
        ({"room": "a", "after": 5}, "invalid_join", "after", "after: must be an object"),
        ({"room": "a", "after": {"epoch": "e"}}, "invalid_join", "after.offset", "after.offset: Field required"),
        (
            {"room": "a", "after": {"epoch": "e", "offset": "1"}},
            "invalid_join",
            "after.offset",
            "after.offset: Input should be a valid integer",
        ),
        ({"room": "a", "before": 1}, "invalid_join", "before", "before: unknown field"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_join_is_refused_by_name(asked: object, code: str, field: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        check_join(Identity("alice", may_join=("a",)), asked)
    assert (refused.value.code, refused.value.field, refused.value.message) == (code, field, message)
