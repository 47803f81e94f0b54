"""What a valid call becomes."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.requests import Limits, digest_of, read_push
from proto.errors import InvalidPush
from proto.message import Push
from proto.queues import Priority
from tests.parts.web import make_web

_NOW = 1_700_000_000_000


def _read(value: object) -> Push:
    return read_push(value, now_ms=_NOW, push_id="P", limits=Limits())


def test_targets_of_all_kinds_become_keys_and_duplicates_collapse() -> None:
    push = _read(
        {"keys": ["a", "b", "a"], "mids": ["42", 42, -7], "rooms": ["live://1", "live://1"], "all": True, "msg": 0}
    )
    assert push.keys == ("a", "b", "mid:42", "mid:-7", "room:live://1", "all")


def test_what_is_left_out_has_its_default() -> None:
    push = _read({"keys": ["a"], "msg": None})
    assert (push.message.op, push.message.body, push.priority, push.server) == (9, b"null", Priority.NORMAL, None)
    assert (push.accepted_ms, push.expires_ms) == (_NOW, _NOW + 60_000)


def test_what_is_given_is_kept() -> None:
    push = _read(
        {"all": True, "msg": {"ü": [1, 2.5]}, "op": 0, "ttl_s": 86_400, "priority": "bulk", "server": "h:1#b-0"}
    )
    assert push.keys == ("all",)
    assert (push.message.op, push.message.body) == (0, '{"ü":[1,2.5]}'.encode())
    assert (push.priority, push.server, push.expires_ms) == (Priority.BULK, "h:1#b-0", _NOW + 86_400_000)


@pytest.mark.parametrize("server", ["127.0.0.1:9500", "node-1.example:9500#f3a9", "[::1]:9500", "n:1#A.b_c-9"])
def test_servers_are_named_by_address_or_incarnation(server: str) -> None:
    assert _read({"keys": ["a"], "msg": 1, "server": server}).server == server


def test_values_that_mean_not_given_are_taken() -> None:
    value = {"durable": False, "delay_s": 0, "deliver_at": None, "request_id": None, "trace": False, "server": None}
    push = _read({"keys": ["a"], "msg": 1, **value})
    assert (push.durable, push.recorded, push.not_before_ms, push.request_id) == (False, False, 0, None)


def test_a_durable_push_lives_for_a_day_unless_it_says_so_and_for_a_week_at_most() -> None:
    push = _read({"keys": ["a"], "msg": 1, "durable": True})
    assert (push.durable, push.recorded, push.expires_ms) == (True, True, _NOW + 86_400_000)
    assert _read({"keys": ["a"], "msg": 1, "durable": True, "ttl_s": 604_800}).expires_ms == _NOW + 604_800_000


def test_a_traced_push_is_recorded_and_a_named_request_by_itself_is_not() -> None:
    assert _read({"keys": ["a"], "msg": 1, "trace": True}).recorded
    push = _read({"keys": ["a"], "msg": 1, "request_id": "order 7/é"})
    assert (push.request_id, push.recorded) == ("order 7/é", False)


@pytest.mark.parametrize(
    ("fields", "due_ms"),
    [
        ({"delay_s": 5}, _NOW + 5000),
        ({"delay_s": 0.0001}, _NOW + 1),
        ({"delay_s": 2_592_000}, _NOW + 2_592_000_000),
        ({"deliver_at": "2023-11-14T22:13:25Z"}, _NOW + 5000),
        ({"deliver_at": "2023-11-15t00:13:25.0001+02:00"}, _NOW + 5001),
        ({"deliver_at": "2023-11-14T22:13:25.123456789-00:00"}, _NOW + 5124),
        ({"deliver_at": "2023-11-14T22:13:20Z"}, 0),
        ({"deliver_at": "0001-01-01T00:00:00+23:59"}, 0),
    ],
)
def test_a_push_is_due_when_it_says_and_lives_from_then_on(fields: dict[str, object], due_ms: int) -> None:
    push = _read({"keys": ["a"], "msg": 1, **fields})
    assert (push.not_before_ms, push.recorded) == (due_ms, due_ms > 0)
    assert push.expires_ms == (due_ms or _NOW) + 60_000


def test_bodies_that_differ_in_the_order_of_names_only_are_the_same_request() -> None:
    body: dict[str, object] = {"keys": ["a"], "msg": {"x": 1, "y": [1, 2]}}
    assert digest_of(body) == digest_of({"msg": {"y": [1, 2], "x": 1}, "keys": ["a"]})
    others: tuple[dict[str, object], ...] = (
        {**body, "op": 9},
        {**body, "msg": {"x": 1, "y": [2, 1]}},
        {**body, "msg": {"x": "1", "y": [1, 2]}},
    )
    assert all(digest_of(other) != digest_of(body) for other in others)


def test_a_thousand_targets_and_a_message_of_64_kib_are_the_most() -> None:
    push = _read({"keys": [f"k{number}" for number in range(1000)], "msg": "x" * 65_534})
    assert (len(push.keys), len(push.message.body)) == (1000, 65_536)


def test_a_message_of_64_levels_is_the_deepest() -> None:
    value: object = 1
    for _ in range(64):
        value = {"v": value}
    assert _read({"keys": ["a"], "msg": value}).message.body == orjson.dumps(value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
_NAMES = st.sampled_from(
    [
        "keys",
        "mids",
        "rooms",
        "all",
        "server",
        "op",
        "msg",
        "ttl_s",
        "priority",
        "durable",
        "delay_s",
        "deliver_at",
        "request_id",
        "trace",
        "speed",
    ]
)


@given(st.dictionaries(_NAMES | st.text(max_size=8), _JSON, max_size=8) | _JSON)
def test_any_json_value_becomes_a_push_or_names_its_fields(value: object) -> None:
    read: Push | InvalidPush
    try:
        read = _read(value)
    except InvalidPush as error:
        read = error
    if isinstance(read, Push):
        assert read.keys
        assert Push.from_payload(read.to_payload()) == read
    else:
        assert read.problems


@settings(deadline=None)  # an app is made for each
@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer_that_is_no_fault_of_ours(raw: bytes) -> None:
    assert make_web().post(raw).status_code in {400, 422}


@pytest.mark.parametrize(
    "text", ['"\\u0000"', "-0", "1e-400", "9223372036854775808", '{"":{"":""}}', '"\\ud83d\\ude00"']
)
def test_the_message_arrives_as_the_value_that_was_sent(text: str) -> None:
    web = make_web()
    assert web.post(b'{"keys":["a"],"msg":' + text.encode() + b"}").status_code == 202
    assert orjson.loads(web.kept.payloads[0]["body"]) == orjson.loads(text)
