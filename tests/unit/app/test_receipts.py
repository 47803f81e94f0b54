"""What may be asked of a push afterwards: its receipt, with waiting; taking it back; the inbox of a key."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proto.message import Place
from store.receipts import State
from tests.fakes.memory_records import EPOCH, MemoryReceipts
from tests.parts.process import until
from tests.parts.web import Web, make_web

_DURABLE = {"keys": ["alice", "bob"], "msg": {"n": 1}, "op": 7, "durable": True, "ttl_s": 100}
_NOBODY = "01M87E00C0DV7EM2NAJXDY2T12"


def _made(web: Web, **fields: Any) -> str:
    push_id: str = web.post({**_DURABLE, **fields}).json["push_id"]
    return push_id


def _advance(web: Web, push_id: str, state: State, *keys: str, **values: Any) -> None:
    MemoryReceipts(web.memory).advance(push_id, state, *keys, **values)


def test_a_receipt_shows_each_key_and_leaves_out_what_has_not_happened() -> None:
    web = make_web()
    push_id = _made(web)
    at = web.memory.now_ms
    _advance(web, push_id, State.ACKED, "alice", dispatched_ms=at + 1, emitted_ms=at + 2, acked_ms=at + 1000)
    _advance(web, push_id, State.ACKED, "alice", sessions=2, acks=1, place=Place(EPOCH, 1))
    _advance(web, push_id, State.FAILED, "bob", ended_ms=at + 5, reason="no node took it")
    response = web.get(f"/v1/pushes/{push_id}")
    assert response.status_code == 200
    assert response.json == {
        "push_id": push_id,
        "state": "failed",
        "op": 7,
        "priority": "normal",
        "durable": True,
        "trace": False,
        "accepted_at": "2023-11-14T22:13:20.000Z",
        "expires_at": "2023-11-14T22:15:00.000Z",
        "keys": {
            "alice": {
                "state": "acked",
                "dispatched_at": "2023-11-14T22:13:20.001Z",
                "emitted_at": "2023-11-14T22:13:20.002Z",
                "acked_at": "2023-11-14T22:13:21.000Z",
                "sessions": 2,
                "acks": 1,
                "offset": 1,
                "epoch": EPOCH,
            },
            "bob": {
                "state": "failed",
                "ended_at": "2023-11-14T22:13:20.005Z",
                "sessions": 0,
                "acks": 0,
                "reason": "no node took it",
            },
        },
    }


def test_a_scheduled_push_says_when_it_is_due_and_an_expired_one_that_it_is() -> None:
    web = make_web()
    push_id = _made(web, delay_s=5)
    shown = web.get(f"/v1/pushes/{push_id}").json
    assert (shown["state"], shown["deliver_at"]) == ("scheduled", "2023-11-14T22:13:25.000Z")
    web.memory.now_ms += 105_000
    shown = web.get(f"/v1/pushes/{push_id}").json
    assert (shown["state"], shown["keys"]["bob"]["ended_at"]) == ("expired", "2023-11-14T22:15:05.000Z")


@pytest.mark.parametrize("push_id", [_NOBODY, "x", "8" * 26, "a" * 300, "%00", _NOBODY.lower()])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_push_that_left_no_receipt_is_not_found_and_the_answer_says_why_that_may_be(
    method: str, push_id: str
) -> None:
    web = make_web()
    response = web.call(method, f"/v1/pushes/{push_id}")
    assert (response.status_code, response.content_type) == (404, "application/problem+json")
    assert "Ephemeral pushes leave none" in response.json["detail"]
    assert web.memory.round_trips == (push_id == _NOBODY), "the store is asked only for what may be an id"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("wait=sent", ["wait"]),
        ("wait=accepted", ["wait"]),
        ("wait=", ["wait"]),
        ("wait=acked&timeout_s=0", ["timeout_s"]),
        ("wait=acked&timeout_s=31", ["timeout_s"]),
        ("wait=acked&timeout_s=1.5", ["timeout_s"]),
        ("wait=acked&timeout_s=%C2%B2", ["timeout_s"]),
        ("wait=x&timeout_s=x", ["wait", "timeout_s"]),
    ],
)
def test_what_cannot_be_waited_for_is_named(query: str, fields: list[str]) -> None:
    response = make_web().get(f"/v1/pushes/{_NOBODY}?{query}")
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, fields)


def test_waiting_ends_when_each_key_is_there_or_has_ended_otherwise() -> None:
    web = make_web()
    push_id = _made(web)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(web.get, f"/v1/pushes/{push_id}?wait=emitted&timeout_s=30")
        until(lambda: "cloudpush_receipt_waiters 1.0" in web.get("/metrics").text, 10, "a waiter")
        _advance(web, push_id, State.EMITTED, "alice")
        looks = web.memory.round_trips
        until(lambda: web.memory.round_trips > looks + 1, 10, "another look")
        assert not waiting.done()
        _advance(web, push_id, State.OFFLINE, "bob")
        assert waiting.result(10).json["state"] == "offline"
    assert "cloudpush_receipt_waiters 0.0" in web.get("/metrics").text


def test_waiting_ends_with_the_time_and_looks_seldom() -> None:
    web = make_web()
    push_id = _made(web)
    before = web.memory.round_trips
    response = web.get(f"/v1/pushes/{push_id}?wait=acked&timeout_s=1")
    assert (response.status_code, response.json["state"]) == (200, "accepted")
    # 20, 30, 45, 67, 101, 152, 200, 200 ms and so on, the look before and one at the end.
    assert 2 < web.memory.round_trips - before <= 12


def test_a_quarter_of_the_threads_may_wait_and_one_more_is_refused_at_once() -> None:
    web = make_web(web_threads=8)
    push_id = _made(web)
    path = f"/v1/pushes/{push_id}?wait=acked&timeout_s=30"
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(web.get, path) for _ in range(2)]
        until(lambda: "cloudpush_receipt_waiters 2.0" in web.get("/metrics").text, 10, "two waiters")
        refused = web.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json["type"] == "urn:cloudpush:too-many-waiting"
        assert web.get(f"/v1/pushes/{push_id}").status_code == 200
        _advance(web, push_id, State.ACKED)
        assert [one.result(10).json["state"] for one in waiting] == ["acked", "acked"]
        assert web.get(path).status_code == 200


def test_who_waits_when_the_process_is_to_end_is_answered() -> None:
    stopping = threading.Event()
    web = make_web(stopping=stopping)
    push_id = _made(web)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(web.get, f"/v1/pushes/{push_id}?wait=acked&timeout_s=30")
        until(lambda: "cloudpush_receipt_waiters 1.0" in web.get("/metrics").text, 10, "a waiter")
        stopping.set()
        assert waiting.result(10).json["state"] == "accepted"


def test_a_cancelled_push_leaves_the_inboxes_and_says_for_whom_it_is_too_late() -> None:
    web = make_web()
    push_id, other = _made(web), _made(web)
    _advance(web, push_id, State.EMITTED, "alice")
    response = web.call("DELETE", f"/v1/pushes/{push_id}")
    assert response.status_code == 200
    assert response.json == {"push_id": push_id, "cancelled": ["bob"], "too_late": {"alice": "emitted"}}
    assert [kept.push_id for kept in web.memory.inboxes["bob"]] == [other]
    assert [kept.push_id for kept in web.memory.inboxes["alice"]] == [push_id, other]
    assert set(web.memory.pending) == {other}
    assert web.get(f"/v1/pushes/{push_id}").json["keys"]["bob"]["state"] == "cancelled"
    assert "cloudpush_pushes_cancelled_total 1.0" in web.get("/metrics").text


def test_a_cancel_that_the_store_cut_off_is_completed_by_the_next() -> None:
    web = make_web()
    push_id = _made(web)
    web.memory.lose(2)
    assert web.call("DELETE", f"/v1/pushes/{push_id}").status_code == 503
    assert len(web.memory.inboxes["alice"]) == 1
    again = web.call("DELETE", f"/v1/pushes/{push_id}")
    assert (again.status_code, again.json["cancelled"]) == (200, ["alice", "bob"])
    assert not any(web.memory.inboxes.values())


def test_where_nothing_can_be_cancelled_the_conflict_says_what_is() -> None:
    web = make_web()
    push_id = _made(web)
    _advance(web, push_id, State.ACKED, "alice")
    _advance(web, push_id, State.EXPIRED, "bob")
    response = web.call("DELETE", f"/v1/pushes/{push_id}")
    assert (response.status_code, response.json["type"]) == (409, "urn:cloudpush:nothing-to-cancel")
    assert response.json["errors"] == [
        {"field": "alice", "message": "is acked"},
        {"field": "bob", "message": "is expired"},
    ]


def test_an_inbox_is_read_page_by_page() -> None:
    web = make_web()
    ids = [_made(web, msg=number) for number in range(3)]
    first = web.get("/v1/keys/alice/messages?limit=2").json
    assert (first["key"], first["epoch"], first["last"], first["trimmed"], first["more"]) == (
        "alice",
        EPOCH,
        3,
        0,
        True,
    )
    assert first["messages"][0] == {
        "offset": 1,
        "epoch": EPOCH,
        "push_id": ids[0],
        "op": 7,
        "msg": 0,
        "accepted_at": "2023-11-14T22:13:20.000Z",
        "expires_at": "2023-11-14T22:15:00.000Z",
    }
    rest = web.get("/v1/keys/alice/messages?after=2&limit=2").json
    assert ([kept["push_id"] for kept in rest["messages"]], rest["more"]) == (ids[2:], False)


@pytest.mark.parametrize("key", ["nobody", "mid:42", "room:live://1", "all"])
def test_a_key_that_nothing_was_sent_to_has_an_empty_inbox(key: str) -> None:
    response = make_web().get(f"/v1/keys/{key}/messages")
    assert (response.status_code, response.json["key"], response.json["messages"]) == (200, key, [])
    assert (response.json["epoch"], response.json["last"]) == ("", 0)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("alice/messages?after=-1", "after"),
        ("alice/messages?after=x", "after"),
        (f"alice/messages?after={2**60}", "after"),
        ("alice/messages?limit=0", "limit"),
        ("alice/messages?limit=1001", "limit"),
        (f"{'k' * 300}/messages", "key"),
    ],
)
def test_a_read_that_makes_no_sense_names_its_field(path: str, field: str) -> None:
    response = make_web().get(f"/v1/keys/{path}")
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, [field])
