"""A push as it travels: what is written is read again, by this release and its neighbours."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto import cloud_pb2
from proto.message import (
    Fate,
    KeyOutcome,
    Message,
    Outcome,
    Push,
    outcomes_from_reply,
    reply_from_outcomes,
)
from proto.queues import Priority

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_KEYS = st.lists(_TEXT, min_size=1, max_size=5, unique=True)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_INT32, _INT64 = st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)
_MESSAGES = st.builds(Message, op=_INT32, body=_JSON.map(lambda value: json.dumps(value).encode()))
_PUSHES = st.builds(
    Push,
    push_id=_TEXT,
    keys=_KEYS.map(tuple),
    message=_MESSAGES,
    priority=st.sampled_from(Priority),
    server=st.none() | _TEXT,
    accepted_ms=_INT64,
    expires_ms=_INT64,
    speed=_INT32,
)
_OUTCOMES = st.builds(KeyOutcome, st.sampled_from(Outcome), st.integers(0, 2**31 - 1))

_PUSH = Push("01J0", ("alice", "room:live://1"), Message(9, b'{"a":1}'), accepted_ms=1, expires_ms=2)


def _reply(*outcomes: int, sessions: Sequence[int] = ()) -> cloud_pb2.PushMsgReply:
    """A reply with outcomes of any number, as only the wire can bring it."""
    wire = bytes([0x52, len(outcomes), *outcomes, 0x5A, len(sessions), *sessions])
    return cloud_pb2.PushMsgReply.FromString(wire)


@given(_PUSHES)
def test_a_payload_survives_json(push: Push) -> None:
    assert Push.from_payload(json.loads(json.dumps(push.to_payload()))) == push


@given(_PUSHES, st.data())
def test_a_later_attempt_survives_json_with_the_nodes_that_have_it(push: Push, data: st.DataObject) -> None:
    left = data.draw(st.lists(st.sampled_from(push.keys), min_size=1, unique=True))
    done = dict.fromkeys(left, ("10.0.0.1:9500#ab",))
    narrowed = push.narrowed(left, done)
    assert narrowed.attempt == push.attempt + 1
    assert narrowed.keys == tuple(left)
    assert Push.from_payload(json.loads(json.dumps(narrowed.to_payload()))) == narrowed


@given(_PUSHES)
def test_a_request_says_what_the_push_says(push: Push) -> None:
    read = cloud_pb2.PushMsgReq.FromString(push.to_request(push.keys[:1]).SerializeToString())
    assert list(read.keys) == [push.keys[0]]
    assert (read.protoOp, read.proto.op, read.proto.ver) == (push.message.op, push.message.op, 1)
    assert read.proto.body == push.message.body
    assert (read.push_id, read.expires_ms, read.speed) == (push.push_id, push.expires_ms, push.speed)


@given(st.dictionaries(_TEXT, _OUTCOMES, min_size=1, max_size=6))
def test_outcomes_survive_the_wire(outcomes: dict[str, KeyOutcome]) -> None:
    wire = reply_from_outcomes(list(outcomes), outcomes).SerializeToString()
    assert outcomes_from_reply(list(outcomes), cloud_pb2.PushMsgReply.FromString(wire)) == outcomes


def test_a_reply_without_outcomes_is_that_of_an_im_cloud_node_which_delivered() -> None:
    assert outcomes_from_reply(["a", "b"], cloud_pb2.PushMsgReply()) == {
        "a": KeyOutcome(Outcome.DELIVERED),
        "b": KeyOutcome(Outcome.DELIVERED),
    }


def test_a_reply_may_leave_out_the_numbers_of_sessions() -> None:
    assert outcomes_from_reply(["a"], _reply(2)) == {"a": KeyOutcome(Outcome.NO_SESSION)}


@pytest.mark.parametrize(
    "reply",
    [_reply(1), _reply(1, 1, 1), _reply(1, 0), _reply(1, 99), _reply(1, 1, sessions=[1])],
    ids=["too few", "too many", "unspecified", "outcome 99", "too few numbers"],
)
def test_a_reply_that_makes_no_sense_is_an_error(reply: cloud_pb2.PushMsgReply) -> None:
    with pytest.raises(ValueError, match=r"outcomes for|is not a valid Outcome|argument"):
        outcomes_from_reply(["a", "b"], reply)


def test_every_outcome_is_one_of_the_wires_and_the_other_way_round() -> None:
    wire = {name.removeprefix("OUTCOME_"): number for name, number in cloud_pb2.Outcome.items()}
    del wire["UNSPECIFIED"]
    assert wire == {outcome.name: outcome.value for outcome in Outcome}


@pytest.mark.parametrize(
    ("now_ms", "expires_ms", "expired"), [(5, 0, False), (4, 5, False), (5, 5, True), (6, 5, True)]
)
def test_a_push_expires_at_its_time_and_never_without_one(now_ms: int, expires_ms: int, expired: bool) -> None:
    assert Push("1", ("a",), Message(9, b"1"), expires_ms=expires_ms).expired(now_ms) is expired


def test_an_older_release_leaves_fields_out() -> None:
    assert Push.from_payload({"push_id": "1", "keys": ["a"], "op": 9, "body": "null"}) == Push(
        "1", ("a",), Message(9, b"null")
    )


def test_a_newer_release_adds_fields() -> None:
    newer = {**_PUSH.to_payload(), "v": 2, "offset": 7, "trace": {"id": "x"}}
    assert Push.from_payload(newer) == _PUSH


def test_fields_of_a_newer_release_pass_an_older_node() -> None:
    newer = _PUSH.to_request(["a"]).SerializeToString() + b"\xa2\x06\x03abc"  # field 100
    assert list(cloud_pb2.PushMsgReq.FromString(newer).keys) == ["a"]


_MALFORMED: list[Any] = [
    None,
    [],
    "text",
    7,
    {},
    {**_PUSH.to_payload(), "op": "nine"},
    {**_PUSH.to_payload(), "op": None},
    {**_PUSH.to_payload(), "op": float("inf")},
    {**_PUSH.to_payload(), "op": float("nan")},
    {**_PUSH.to_payload(), "op": 2**31},
    {**_PUSH.to_payload(), "expires_ms": 2**63},
    {**_PUSH.to_payload(), "keys": None},
    {**_PUSH.to_payload(), "keys": 5},
    {**_PUSH.to_payload(), "keys": "alice"},
    {**_PUSH.to_payload(), "keys": {"alice": 1}},
    {**_PUSH.to_payload(), "keys": ["alice", None]},
    {**_PUSH.to_payload(), "keys": ["\ud800"]},
    {**_PUSH.to_payload(), "body": "\ud800"},
    {**_PUSH.to_payload(), "body": {"a": 1}},
    {**_PUSH.to_payload(), "priority": "urgent"},
    {**_PUSH.to_payload(), "priority": ["high"]},
    {**_PUSH.to_payload(), "server": 5},
    {**_PUSH.to_payload(), "attempt": 1, "done": ["a"]},
    {**_PUSH.to_payload(), "attempt": 1, "done": {"a": None}},
    {**_PUSH.to_payload(), "attempt": 1, "done": {"a": "10.0.0.1:9500#ab"}},
]


@pytest.mark.parametrize("payload", _MALFORMED, ids=lambda payload: repr(payload)[-60:])
def test_a_malformed_payload_is_a_value_error_and_nothing_else(payload: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Push.from_payload(payload)


@given(st.dictionaries(st.sampled_from([*_PUSH.to_payload(), "server", "attempt", "done"]), _JSON | st.floats()))
def test_whatever_a_payload_holds_it_is_read_or_refused_and_what_is_read_can_be_sent(fields: dict[str, Any]) -> None:
    try:
        push = Push.from_payload({**_PUSH.to_payload(), **fields})
    except ValueError:
        return
    push.to_request(push.keys).SerializeToString()
    assert Push.from_payload(push.to_payload()) == push


@pytest.mark.parametrize("fate", Fate)
def test_a_fate_is_a_word_for_metrics_and_receipts(fate: Fate) -> None:
    assert fate.value == fate.name.lower()
