"""Who a session is: what is refused, with which code, at which field, in which words."""

import base64
import json
import time
from typing import Any

import jwt
import pytest

from cloud_node.identity import Identity, check_ops, check_room, identify
from proto.errors import Refused

_SECRET = "s" * 32


def _identify(auth: object, *, secret: str | None = None, max_rooms: int = 3) -> Identity:
    return identify(auth, secret=secret, new_key=lambda: "anon-1", max_rooms=max_rooms)


def _token(claims: dict[str, Any], secret: str = _SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def test_without_a_secret_anyone_may_be_anyone() -> None:
    auth = {"key": "alice", "mid": 42, "rooms": ["a", "b", "a"], "accepts": [9, 1], "platform": "web"}
    identity = _identify(auth)
    assert identity == Identity("alice", "42", ("a", "b"), frozenset({1, 9}), "web", None)
    assert identity.keys == ("alice", "mid:42", "room:a", "room:b", "all")


@pytest.mark.parametrize("auth", [None, {}, {"key": None, "mid": None, "accepts": None, "token": None}])
def test_who_says_nothing_gets_a_key_of_its_own(auth: object) -> None:
    assert _identify(auth) == Identity("anon-1", made_up=True)
    assert _identify(auth).keys == ("anon-1", "all")


def test_who_accepts_no_op_is_not_who_accepts_every_op() -> None:
    assert _identify({"accepts": []}).accepts == frozenset()


_MALFORMED: list[tuple[object, str, str, str]] = [
    ("text", "invalid_auth", "auth", "auth: must be an object"),
    ([], "invalid_auth", "auth", "auth: must be an object"),
    (7, "invalid_auth", "auth", "auth: must be an object"),
    ({"who": 1}, "invalid_auth", "who", "who: unknown field"),
    ({"keys": ["a"]}, "invalid_auth", "keys", "keys: unknown field"),
    ({"key": 5}, "invalid_auth", "key", "key: Input should be a valid string"),
    ({"key": ["a"]}, "invalid_auth", "key", "key: Input should be a valid string"),
    ({"key": ""}, "invalid_key", "key", "key: must not be empty"),
    ({"key": "a\n"}, "invalid_key", "key", "key: must not hold control characters"),
    ({"key": " a"}, "invalid_key", "key", "key: must not begin or end with white space"),
    ({"key": "x" * 257}, "invalid_key", "key", "key: must be at most 256 bytes, not 257"),
    ({"key": "\ud800"}, "invalid_key", "key", "key: must be valid Unicode: it holds half a surrogate pair"),
    ({"key": "all"}, "invalid_key", "key", "key: 'all' is reserved: to reach every session, say all: true"),
    ({"key": "mid:42"}, "invalid_key", "key", "key: the prefix 'mid:' is reserved: use mids"),
    ({"key": "room:a"}, "invalid_key", "key", "key: the prefix 'room:' is reserved: use rooms"),
    ({"key": "probe:x:1"}, "invalid_key", "key", "key: the prefix 'probe:' is reserved"),
    ({"mid": True}, "invalid_auth", "mid", "mid: Input should be a valid string"),
    ({"mid": 4.5}, "invalid_auth", "mid", "mid: Input should be a valid string"),
    ({"mid": ["42"]}, "invalid_auth", "mid", "mid: Input should be a valid string"),
    ({"mid": ""}, "invalid_mid", "mid", "mid: must not be empty"),
    ({"mid": "4\x002"}, "invalid_mid", "mid", "mid: must not hold control characters"),
    ({"mid": "x" * 253}, "invalid_mid", "mid", "mid: must be at most 252 bytes, not 253"),
    ({"rooms": None}, "invalid_auth", "rooms", "rooms: Input should be a valid list"),
    ({"rooms": "a"}, "invalid_auth", "rooms", "rooms: Input should be a valid list"),
    ({"rooms": ["a", 5]}, "invalid_auth", "rooms[1]", "rooms[1]: Input should be a valid string"),
    ({"rooms": ["a", ""]}, "invalid_room", "rooms[1]", "rooms[1]: must not be empty"),
    ({"rooms": ["x" * 252]}, "invalid_room", "rooms[0]", "rooms[0]: must be at most 251 bytes, not 252"),
    ({"rooms": ["a", "b", "c", "d"]}, "too_many_rooms", "rooms", "rooms: at most 3 rooms a session"),
    ({"accepts": 9}, "invalid_auth", "accepts", "accepts: Input should be a valid list"),
    ({"accepts": [9, "9"]}, "invalid_auth", "accepts[1]", "accepts[1]: Input should be a valid integer"),
    ({"accepts": [True]}, "invalid_auth", "accepts[0]", "accepts[0]: Input should be a valid integer"),
    (
        {"accepts": [-1]},
        "invalid_auth",
        "accepts[0]",
        "accepts[0]: Input should be greater than or equal to 0",
    ),
    (
        {"accepts": [2**31]},
        "invalid_auth",
        "accepts[0]",
        "accepts[0]: Input should be less than or equal to 2147483647",
    ),
    (
        {"accepts": [9] * 257},
        "invalid_auth",
        "accepts",
        "accepts: List should have at most 256 items after validation, not 257",
    ),
    ({"platform": 5}, "invalid_auth", "platform", "platform: Input should be a valid string"),
    ({"platform": "x" * 65}, "invalid_auth", "platform", "platform: String should have at most 64 characters"),
    ({"token": 5}, "invalid_auth", "token", "token: Input should be a valid string"),
    ({"token": "x" * 8193}, "invalid_auth", "token", "token: String should have at most 8192 characters"),
]


@pytest.mark.parametrize(("auth", "code", "field", "message"), _MALFORMED, ids=lambda value: str(value)[:40])
def test_a_malformed_payload_is_refused_by_name(auth: object, code: str, field: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        _identify(auth)
    assert (refused.value.code, refused.value.field, refused.value.message) == (code, field, message)
    assert not refused.value.retryable


_GRANT = {"key": "alice", "mid": 42, "rooms": ["live://*", "lobby"]}


def test_a_token_makes_a_session_what_it_grants() -> None:
    identity = _identify({"token": _token(_GRANT)}, secret=_SECRET)
    assert (identity.key, identity.mid, identity.may_join) == ("alice", "42", ("live://*", "lobby"))


def test_a_session_may_ask_for_what_the_token_grants_and_for_less() -> None:
    auth = {"token": _token(_GRANT), "key": "alice", "mid": "42", "rooms": ["lobby", "live://7"]}
    assert _identify(auth, secret=_SECRET).rooms == ("lobby", "live://7")


def test_a_token_without_a_key_gives_a_key_of_its_own() -> None:
    assert _identify({"token": _token({})}, secret=_SECRET).key == "anon-1"


_FORBIDDEN: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "token_required", "token", "token: this node wants a token"),
    ({"token": ""}, "invalid_token", "token", "token: Not enough segments"),
    ({"token": "a.b"}, "invalid_token", "token", "token: Not enough segments"),
    ({"token": "é.é.é"}, "invalid_token", "token", "token: Invalid header padding"),
    (
        {"token": _unsigned({"key": "alice"})},
        "invalid_token",
        "token",
        "token: The specified alg value is not allowed",
    ),
    (
        {"token": _token(_GRANT, algorithm="HS384", secret="s" * 48)},
        "invalid_token",
        "token",
        "token: The specified alg value is not allowed",
    ),
    (
        {"token": _token(_GRANT, secret="x" * 32)},
        "invalid_token",
        "token",
        "token: Signature verification failed",
    ),
    (
        {"token": _token({**_GRANT, "exp": int(time.time()) - 1})},
        "token_expired",
        "token",
        "token: has expired",
    ),
    (
        {"token": _token({**_GRANT, "nbf": int(time.time()) + 1_000_000})},
        "invalid_token",
        "token",
        "token: The token is not yet valid (nbf)",
    ),
    (
        {"token": _token({**_GRANT, "exp": "soon"})},
        "invalid_token",
        "token",
        "token: Expiration Time claim (exp) must be an integer.",
    ),
    ({"token": _token({"key": 5})}, "invalid_token", "token", "token: claim key must be a string"),
    ({"token": _token({"mid": 4.5})}, "invalid_token", "token", "token: claim mid must be a string or an integer"),
    ({"token": _token({"mid": True})}, "invalid_token", "token", "token: claim mid must be a string or an integer"),
    ({"token": _token({"mid": ["4"]})}, "invalid_token", "token", "token: claim mid must be a string or an integer"),
    ({"token": _token({"rooms": "*"})}, "invalid_token", "token", "token: claim rooms must be a list of strings"),
    ({"token": _token({"rooms": [5]})}, "invalid_token", "token", "token: claim rooms must be a list of strings"),
    ({"token": _token({"rooms": None})}, "invalid_token", "token", "token: claim rooms must be a list of strings"),
    (
        {"token": _token({"key": "all"})},
        "invalid_key",
        "key",
        "key: 'all' is reserved: to reach every session, say all: true",
    ),
    (
        {"token": _token({"key": "room:a"})},
        "invalid_key",
        "key",
        "key: the prefix 'room:' is reserved: use rooms",
    ),
    ({"token": _token({"mid": ""})}, "invalid_mid", "mid", "mid: must not be empty"),
    ({"token": _token(_GRANT), "key": "bob"}, "forbidden_key", "key", "key: the token does not grant this key"),
    ({"token": _token({}), "key": "bob"}, "forbidden_key", "key", "key: the token does not grant this key"),
    ({"token": _token(_GRANT), "mid": 43}, "forbidden_mid", "mid", "mid: the token does not grant this member"),
    ({"token": _token({}), "mid": "None"}, "forbidden_mid", "mid", "mid: the token does not grant this member"),
    (
        {"token": _token(_GRANT), "rooms": ["lobby", "attic"]},
        "forbidden_room",
        "rooms[1]",
        "rooms[1]: the token does not name room 'attic'",
    ),
    (
        {"token": _token({"key": "alice"}), "rooms": ["lobby"]},
        "forbidden_room",
        "rooms[0]",
        "rooms[0]: the token does not name room 'lobby'",
    ),
]


@pytest.mark.parametrize(("auth", "code", "field", "message"), _FORBIDDEN, ids=lambda value: str(value)[-40:])
def test_what_a_token_does_not_grant_is_refused_by_name(
    auth: dict[str, Any], code: str, field: str, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        _identify(auth, secret=_SECRET)
    assert (refused.value.code, refused.value.field, refused.value.message) == (code, field, message)


@pytest.mark.parametrize(
    ("rule", "room", "may"),
    [
        ("*", "anything", True),
        ("live://*", "live://1", True),
        ("live://*", "live:/1", False),
        ("lobby", "lobby", True),
        ("lobby", "lobby2", False),
        ("lobb*y", "lobbxy", False),
    ],
)
def test_a_rule_is_a_name_or_a_prefix_that_ends_in_a_star(rule: str, room: str, may: bool) -> None:
    identity = Identity("a", may_join=(rule,))
    if may:
        assert check_room(identity, room) == room
    else:
        with pytest.raises(Refused, match=f"the token does not name room '{room}'"):
            check_room(identity, room)


@pytest.mark.parametrize("room", [None, 5, ["a"], {"room": "a"}])
def test_a_room_to_join_is_a_text(room: object) -> None:
    with pytest.raises(Refused, match="room: must be a string"):
        check_room(Identity("a"), room)


def test_ops_are_a_list_or_none_for_every_op() -> None:
    assert check_ops(None) is None
    assert check_ops([]) == frozenset()
    assert check_ops([0, 2**31 - 1]) == frozenset({0, 2**31 - 1})


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ("9", "ops: must be a list of at most 256 ops"),
        ([9] * 257, "ops: must be a list of at most 256 ops"),
        ([9, True], "ops[1]: must be an integer from 0 to 2147483647"),
        ([-1], "ops[0]: must be an integer from 0 to 2147483647"),
        ([2**31], "ops[0]: must be an integer from 0 to 2147483647"),
        ([9.0], "ops[0]: must be an integer from 0 to 2147483647"),
    ],
)
def test_other_ops_are_refused(ops: object, message: str) -> None:
    with pytest.raises(Refused) as refused:
        check_ops(ops)
    assert refused.value.message == message
