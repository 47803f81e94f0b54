"""Whatever is among the dead letters can be read, and says what it takes to send it again."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto import queues, task
from proto.message import Message, Push
from tasks import letters

_PUSH = Push("01J0", ("a", "b"), Message(9, b'"secret"'), expires_ms=5_000, attempt=3, done={"a": ("n1",)}, claim="c")


def _ours(payload: Any, **fields: Any) -> str:
    return json.dumps({"payload": payload, "reason": "unreachable", "details": "n2: down", "at_ms": 1_000, **fields})


def test_what_a_worker_gave_up_is_read_and_shown_without_its_body() -> None:
    letter = letters.read({"reason": "unreachable"}, _ours(_PUSH.to_payload()))
    assert letter.push == _PUSH
    shown = letter.shown()
    assert (shown["kind"], shown["reason"], shown["details"]) == ("push", "unreachable", "n2: down")
    assert (shown["push_id"], shown["keys"], shown["died_at"]) == ("01J0", ["a", "b"], "1970-01-01T00:00:01Z")
    assert "secret" not in json.dumps(shown)


def test_what_the_broker_moved_here_is_read_with_the_brokers_reason() -> None:
    body, headers = task.message(queues.PUSH_TASK, "id", [_PUSH.to_payload()], "")
    death = [{"reason": "delivery_limit", "queue": "cloudpush.high", "time": datetime(2026, 1, 2, tzinfo=UTC)}]
    letter = letters.read({**headers, "x-death": death}, json.dumps(body))
    assert (letter.push, letter.reason, letter.shown()["died_at"]) == (_PUSH, "delivery_limit", "2026-01-02T00:00:00Z")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, _ours({"keys": ["a"]}, reason="disconnect_failed")),
        ({"task": queues.DISCONNECT_TASK}, json.dumps([[["a"], 3], {}, {}])),
        ({"task": queues.DISCONNECT_TASK}, json.dumps([[], {"keys": ["a"]}, {}])),
    ],
)
def test_sessions_that_were_to_be_ended_are_read_in_every_form(headers: dict[str, Any], body: str) -> None:
    letter = letters.read(headers, body)
    assert (letter.kind, letter.keys) == ("disconnect", ("a",))


def test_a_push_tried_anew_begins_with_attempt_0_and_leaves_out_nodes_that_have_it() -> None:
    argument = letters.argument(_PUSH, 4_999, None)
    assert argument is not None
    again = Push.from_payload(argument)
    assert (again.attempt, again.done, again.claim, again.expires_ms) == (0, {"a": ("n1",)}, "c", 5_000)


def test_a_push_out_of_time_is_tried_anew_only_with_more() -> None:
    assert letters.argument(_PUSH, 5_000, None) is None
    argument = letters.argument(_PUSH, 5_000, 60_000)
    assert argument is not None
    assert argument["expires_ms"] == 65_000


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["payload", "reason", "details", "at_ms", "keys", "push_id"]), inner)
    ),
)


@given(
    body=_JSON.map(json.dumps) | st.binary() | st.text(),
    headers=st.dictionaries(
        st.sampled_from(["task", "x-death", "reason"]), _JSON | st.just(queues.PUSH_TASK) | st.just([{"time": 3}])
    ),
)
def test_no_message_at_all_keeps_the_others_from_being_read(body: str | bytes, headers: dict[str, Any]) -> None:
    letter = letters.read(headers, body)
    assert json.dumps(letter.shown())
    assert letter.kind in ("push", "disconnect", "malformed")
