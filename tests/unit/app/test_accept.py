"""What a 202 means, and when there is none."""

import orjson
import pytest

from app.answers import speaks_im
from proto.queues import Priority
from tests.parts.web import make_web

_PUSH = {"keys": ["alice", "bob"], "op": 7, "msg": {"secret": "tulip"}}


def test_an_accepted_push_is_one_celery_task_on_the_queue_of_its_priority() -> None:
    web = make_web()
    response = web.post({**_PUSH, "priority": "high"})
    push_id = response.json["push_id"]
    assert response.status_code == 202
    assert response.json == {"push_id": push_id, "status": "accepted", "href": f"/v1/pushes/{push_id}"}
    (message,) = web.kept.messages
    assert (message.task_id, message.queue) == (push_id, Priority.HIGH.queue)
    assert (message.headers["task"], message.headers["id"]) == ("cloudpush.push", push_id)
    (payload,), kwargs, _ = orjson.loads(message.body)
    assert kwargs == {}
    assert (payload["push_id"], payload["keys"], payload["op"]) == (push_id, ["alice", "bob"], 7)
    assert payload["expires_ms"] - payload["accepted_ms"] == 60_000


def test_what_flower_shows_of_a_push_does_not_hold_the_message() -> None:
    web = make_web()
    web.post(_PUSH)
    headers = web.kept.messages[0].headers
    assert headers["argsrepr"] == f"({headers['id']}, 2 keys, op 7)"
    assert "tulip" not in repr(headers)


def test_a_broker_that_does_not_confirm_means_503_and_when_to_try_again() -> None:
    web = make_web()
    web.kept.down = "the broker cannot be reached"
    response = web.post(_PUSH)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.content_type == "application/problem+json"
    assert response.json == {
        "type": "urn:cloudpush:broker-unavailable",
        "title": "The broker cannot take it now",
        "status": 503,
        "detail": "the broker cannot be reached",
        "errors": [],
    }


def test_with_the_store_down_only_pushes_to_an_explicit_server_flow() -> None:
    web = make_web()
    web.store.down = True
    refused = web.post(_PUSH)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert web.post({**_PUSH, "server": "127.0.0.1:9500"}).status_code == 202
    assert [payload["server"] for payload in web.kept.payloads] == ["127.0.0.1:9500"]


def test_disconnecting_a_key_is_a_confirmed_task() -> None:
    web = make_web()
    response = web.app.test_client().delete("/v1/keys/mid%3A42/sessions")
    assert (response.status_code, response.json) == (202, {"status": "accepted"})
    (message,) = web.kept.messages
    assert message.headers["task"] == "cloudpush.disconnect"
    assert orjson.loads(message.body)[:2] == [[["mid:42"]], {}]


@pytest.mark.parametrize("key", ["live://1", "/begins/with/a/slash", "a/sessions", "ü"])
def test_keys_in_paths_may_hold_anything_that_keys_may(key: str) -> None:
    web = make_web()
    assert web.app.test_client().delete(f"/v1/keys/{key}/sessions").status_code == 202
    assert orjson.loads(web.kept.messages[0].body)[0] == [[key]]


def test_disconnecting_names_a_faulty_key_and_needs_store_and_broker() -> None:
    web = make_web()
    response = web.call("DELETE", f"/v1/keys/{'k' * 300}/sessions")
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "key")
    web.store.down = True
    assert web.call("DELETE", "/v1/keys/a/sessions").status_code == 503
    web.store.down, web.kept.down = False, "gone"
    assert web.call("DELETE", "/v1/keys/a/sessions").status_code == 503
    assert web.kept.messages == []


def test_an_ephemeral_push_that_nobody_wants_a_receipt_of_does_not_touch_the_store() -> None:
    web = make_web()
    assert web.post(_PUSH).status_code == 202
    assert web.post({"msg": 1}, "/im/push/all").status_code == 200
    assert (web.memory.round_trips, web.memory.empty) == (0, True)
    assert [set(payload) & {"durable", "recorded", "request_id"} for payload in web.kept.payloads] == [set(), set()]


def test_accepted_and_refused_pushes_are_counted() -> None:
    web = make_web()
    web.post(_PUSH)
    web.post({**_PUSH, "priority": "bulk"})
    web.post({})
    web.kept.down = "gone"
    web.post(_PUSH)
    text = web.get("/metrics").text
    for line in (
        'cloudpush_pushes_accepted_total{priority="normal"} 1.0',
        'cloudpush_pushes_accepted_total{priority="bulk"} 1.0',
        'cloudpush_pushes_refused_total{status="422"} 1.0',
        'cloudpush_pushes_refused_total{status="503"} 1.0',
        "cloudpush_accept_seconds_count 2.0",
        "cloudpush_broker_up 0.0",
        "cloudpush_store_up 1.0",
    ):
        assert line in text.splitlines()


def test_a_fault_of_ours_is_a_500_that_tells_nothing() -> None:
    web = make_web()
    web.kept.messages = None  # type: ignore[assignment]
    response = web.post(_PUSH)
    assert (response.status_code, response.json["detail"]) == (500, "A fault of ours; it is in the log.")


@pytest.mark.parametrize(
    ("path", "im"), [("/im/push/all", True), ("/health", True), ("/health/live", False), ("/v1", False)]
)
def test_im_clouds_callers_are_known_by_their_paths(path: str, im: bool) -> None:
    assert speaks_im(path) is im
