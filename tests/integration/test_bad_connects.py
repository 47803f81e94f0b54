"""Whatever a client sends, it is told what is wrong with it or is disconnected; the node and the others go on.

After each test a session that was there before still gets its push, and the node has logged no traceback.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.sending import get, push
from tests.parts import journal
from tests.parts.clients import Client
from tests.parts.fleet import Fleet, Node
from tests.parts.process import until
from tests.parts.raw import RawWebSocket

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def node(fleet: Fleet) -> Node:
    """The node that is treated badly."""
    return fleet.nodes[0]


@pytest.fixture(scope="module")
def witness(node: Node) -> Iterator[Client]:
    """A session that was there before."""
    with Client(node, {"key": f"witness-{uuid4().hex}"}) as session:
        yield session


@pytest.fixture(autouse=True)
def _the_others_go_on(fleet: Fleet, node: Node, witness: Client) -> Iterator[None]:
    tracebacks = _tracebacks(node)
    yield
    push_id = push(fleet, keys=[witness.key])
    assert witness.next_push()["push_id"] == push_id
    assert _tracebacks(node) == tracebacks, node.process.tail()


def _tracebacks(node: Node) -> int:
    return node.process.log.read_text(encoding="utf-8").count("Traceback")


_LONG = "k" * 257
_OBJECT = "auth: must be an object"
_STRING = "Input should be a valid string"
_CONNECTS = [
    ('"alice"', "invalid_auth", "auth", _OBJECT),
    ("[]", "invalid_auth", "auth", _OBJECT),
    ('[{"key":"k"}]', "invalid_auth", "auth", _OBJECT),
    ("false", "invalid_auth", "auth", _OBJECT),
    ('""', "invalid_auth", "auth", _OBJECT),
    ("7", "invalid_auth", "auth", _OBJECT),
    ("{nope", "invalid_auth", "auth", _OBJECT),
    ('{"key":"\\ud800"}', "invalid_auth", "auth", _OBJECT),
    ('{"key":' + "[" * 2000 + "]" * 2000 + "}", "invalid_auth", "auth", _OBJECT),
    ('{"key":7}', "invalid_auth", "key", f"key: {_STRING}"),
    ('{"key":[]}', "invalid_auth", "key", f"key: {_STRING}"),
    ('{"key":""}', "invalid_key", "key", "key: must not be empty"),
    ('{"key":" a"}', "invalid_key", "key", "key: must not begin or end with white space"),
    ('{"key":"a\\u0000b"}', "invalid_key", "key", "key: must not hold control characters"),
    ('{"key":"a\\u009fb"}', "invalid_key", "key", "key: must not hold control characters"),
    (f'{{"key":"{_LONG}"}}', "invalid_key", "key", "key: must be at most 256 bytes, not 257"),
    ('{"key":"all"}', "invalid_key", "key", "key: 'all' is reserved: to reach every session, say all: true"),
    ('{"key":"mid:1"}', "invalid_key", "key", "key: the prefix 'mid:' is reserved: use mids"),
    ('{"key":"room:1"}', "invalid_key", "key", "key: the prefix 'room:' is reserved: use rooms"),
    ('{"key":"probe:1"}', "invalid_key", "key", "key: the prefix 'probe:' is reserved"),
    ('{"mid":""}', "invalid_mid", "mid", "mid: must not be empty"),
    ('{"mid":true}', "invalid_auth", "mid", f"mid: {_STRING}"),
    ('{"mid":1.5}', "invalid_auth", "mid", f"mid: {_STRING}"),
    ('{"mid":9223372036854775808}', "invalid_auth", "mid", f"mid: {_STRING}"),
    ('{"rooms":"lobby"}', "invalid_auth", "rooms", "rooms: Input should be a valid list"),
    ('{"rooms":["a",7]}', "invalid_auth", "rooms[1]", f"rooms[1]: {_STRING}"),
    ('{"rooms":["a",""]}', "invalid_room", "rooms[1]", "rooms[1]: must not be empty"),
    ('{"rooms":["a\\n"]}', "invalid_room", "rooms[0]", "rooms[0]: must not hold control characters"),
    (
        json.dumps({"rooms": [f"r{number}" for number in range(101)]}),
        "too_many_rooms",
        "rooms",
        "rooms: at most 100 rooms a session",
    ),
    ('{"accepts":9}', "invalid_auth", "accepts", "accepts: Input should be a valid list"),
    ('{"accepts":["9"]}', "invalid_auth", "accepts[0]", "accepts[0]: Input should be a valid integer"),
    ('{"accepts":[9,-1]}', "invalid_auth", "accepts[1]", "accepts[1]: Input should be greater than or equal to 0"),
    (
        json.dumps({"accepts": list(range(257))}),
        "invalid_auth",
        "accepts",
        "accepts: List should have at most 256 items after validation, not 257",
    ),
    ('{"platform":7}', "invalid_auth", "platform", f"platform: {_STRING}"),
    (f'{{"platform":"{_LONG}"}}', "invalid_auth", "platform", "platform: String should have at most 64 characters"),
    ('{"token":7}', "invalid_auth", "token", f"token: {_STRING}"),
    ('{"resume":[]}', "invalid_auth", "resume", "resume: Input should be a valid dictionary"),
    ('{"resume":{"a":7}}', "invalid_auth", "resume['a']", "resume['a']: must be an object"),
    ('{"colour":"red"}', "invalid_auth", "colour", "colour: unknown field"),
]


@pytest.mark.parametrize(("auth", "code", "field", "text"), _CONNECTS, ids=[case[0][:24] for case in _CONNECTS])
def test_a_bad_connect_is_refused_with_its_reason(node: Node, auth: str, code: str, field: str, text: str) -> None:
    with RawWebSocket(node) as raw:
        raw.send("40" + auth)
        refused = {"message": text, "code": code, "data": {"code": code, "field": field}}
        assert json.loads(raw.receive().removeprefix("44")) == refused
        raw.connect('{"key":"better"}')


@pytest.mark.parametrize("auth", ["", "null", "{}", '{"key":null,"mid":null,"accepts":null,"resume":null}'])
def test_a_connect_that_says_nothing_is_given_a_key(node: Node, auth: str) -> None:
    with RawWebSocket(node) as raw:
        assert raw.connect(auth)["key"].startswith("anon-")


def test_an_unknown_namespace_and_a_second_connect_are_refused(node: Node) -> None:
    with RawWebSocket(node) as raw:
        raw.send("40/admin,{}")
        assert raw.receive() == '44/admin,{"message":"Invalid namespace"}'
        ready = raw.connect('{"key":"first"}')
        raw.send('40{"key":"second"}')
        assert raw.receive() == '44{"message":"Already connected"}'
        assert ready["key"] == "first"


_EVENTS: list[tuple[str, str, str]] = [
    ('["join"]', "invalid_room", "room: must be a string"),
    ('["join",7]', "invalid_room", "room: must be a string"),
    ('["join",' + "[" * 500 + "]" * 500 + "]", "invalid_room", "room: must be a string"),
    ('["join","a","b"]', "invalid_event", "one argument is expected, not 2"),
    ('["leave"]', "invalid_room", "room: must be a string"),
    ('["accept","9"]', "invalid_ops", "ops: must be a list of at most 256 ops"),
    ('["accept",[9,true]]', "invalid_ops", "ops[1]: must be an integer from 0 to 2147483647"),
    ('["accept",[2147483648]]', "invalid_ops", "ops[0]: must be an integer from 0 to 2147483647"),
    (f'["accept",{list(range(257))}]', "invalid_ops", "ops: must be a list of at most 256 ops"),
    ('["ack",{"k":1}]', "invalid_ack", "ack: this session does not answer to 'k'"),
    ('["shout","hello"]', "unknown_event", "there is no event 'shout'"),
    ('["push",{"msg":"from a client"}]', "unknown_event", "there is no event 'push'"),
    (f'["{_LONG}"]', "unknown_event", f"there is no event '{_LONG[:64]}'"),
]


@pytest.mark.parametrize(("event", "code", "text"), _EVENTS, ids=[case[0][:24] for case in _EVENTS])
def test_a_bad_event_is_answered_with_its_error(node: Node, event: str, code: str, text: str) -> None:
    with RawWebSocket(node) as raw:
        raw.connect()
        raw.send("4217" + event)
        assert raw.receive().removeprefix("4317") == json.dumps(
            [{"error": {"code": code, "message": text}}], separators=(",", ":")
        )
        raw.send('4218["join","fine"]')
        assert raw.receive().startswith('4318[{"rooms":["fine"],')


_PACKETS: dict[str, list[str | bytes]] = {
    "an event called connect": ['420["connect",{},{"key":"stolen"}]'],
    "an event called disconnect": ['420["disconnect"]'],
    "an event without a name": ["42[]"],
    "an event without data": ["42"],
    "an event of null": ["42null"],
    "an event that is an object": ['42{"join":"a"}'],
    "an event whose name is a number": ["42[7]"],
    "an event whose name is an object": ['42[{"a":1}]'],
    "an event that is not JSON": ["42nope"],
    "an event with NaN": ['42["join",NaN]'],
    "an event with half a surrogate pair": ['42["join","\\ud800"]'],
    "deep JSON": ['42["join",' + "[" * 50_000 + "]" * 50_000 + "]"],
    "an ack id without end": ["42" + "1" * 101 + '["join","a"]'],
    "an ack without an id": ["43[]"],
    "a connect_error": ['44{"message":"no"}'],
    "a binary event without its attachment": ['451-["join",{"_placeholder":true,"num":0}]', "42"],
    "a binary event that lies": ['451-["join",{"_placeholder":true,"num":7}]', b"abc"],
    "more attachments than there are": ['4599999999999-["join"]'],
    "a binary frame": [b"abc"],
    "a base64 frame": ["bAAAA"],
    "an unknown packet": ["49"],
    "a packet that is no number": ["4x"],
    "an empty packet": ["4"],
    "JSON instead of a packet": ['4{"a":1}'],
    "an unknown frame": ["xyz"],
    "an empty frame": [""],
    "a frame over 128 KiB": ['42["join","' + "x" * (129 * 1024) + '"]'],
}


@pytest.mark.parametrize("frames", _PACKETS.values(), ids=_PACKETS.keys())
def test_a_malformed_packet_ends_the_connection_and_its_session(
    fleet: Fleet, node: Node, frames: list[str | bytes]
) -> None:
    with RawWebSocket(node) as raw:
        session = raw.connect(f'{{"key":"bad-{uuid4().hex}"}}')
        for frame in frames:
            raw.send(frame)
        assert raw.is_closed_by_the_node()
    journal.until_line(node.process, event="disconnected", session=session["session"])
    path = f"/v1/online/keys?key={session['key']}&key=stolen"
    until(lambda: get(fleet, path) == {"keys": {session["key"]: 0, "stolen": 0}}, 5, "a directory without it")


@pytest.mark.parametrize("packet", ['420["join","a"]', "41", '451-["join",{"_placeholder":true,"num":0}]'])
def test_what_comes_before_the_connect_ends_the_connection(node: Node, packet: str) -> None:
    with RawWebSocket(node) as raw:
        raw.send(packet)
        assert raw.is_closed_by_the_node()


def test_ten_thousand_bad_connects_on_one_connection_leave_nothing_behind(node: Node, fleet: Fleet) -> None:
    before: Any = get(fleet, "/v1/online/keys?key=all")
    with RawWebSocket(node) as raw:
        for _ in range(10):
            for _ in range(1000):
                raw.send('40{"key":"all"}')
            for _ in range(1000):
                assert raw.receive().startswith("44")
        raw.connect()
    until(lambda: bool(get(fleet, "/v1/online/keys?key=all") == before), 5, "as many sessions as before")
