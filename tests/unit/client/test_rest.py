"""cloudpush.rest: what is sent, what comes back, and errors with their fields."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cloudpush import Accepted, BestNode, Client, Online, Problem, RoomCount
from cloudpush.errors import FieldError
from tests.unit.client.stand_in import StandIn

_ACCEPTED = {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"}
_INVALID = {
    "type": "urn:cloudpush:invalid-fields",
    "title": "The request has fields at fault",
    "status": 422,
    "detail": "op: too small",
    "errors": [{"field": "op", "message": "too small"}],
}
_AT = "2026-01-02T03:04:05.678Z"
_RECEIPT: dict[str, Any] = {
    "push_id": "p1",
    "state": "acked",
    "op": 9,
    "priority": "normal",
    "durable": True,
    "trace": False,
    "accepted_at": _AT,
    "expires_at": "2026-01-03T03:04:05.678Z",
    "keys": {
        "alice": {
            "state": "acked",
            "dispatched_at": _AT,
            "emitted_at": _AT,
            "acked_at": _AT,
            "sessions": 2,
            "acks": 1,
            "offset": 7,
            "epoch": "e1",
        },
        "bob": {"state": "offline", "ended_at": _AT, "sessions": 0, "acks": 0, "reason": "nobody"},
    },
}


def test_push_gives_what_the_server_promised_and_shows_the_api_key(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    with Client(server.url + "/", api_key="k" * 16) as client:
        accepted = client.push({"n": 1}, keys=["alice"], request_id="mine")
    assert accepted == Accepted("p1", "accepted", "/v1/pushes/p1", "mine")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/pushes")
    assert asked.body == {"keys": ["alice"], "msg": {"n": 1}, "request_id": "mine"}
    assert asked.headers["Authorization"] == "Bearer " + "k" * 16


def test_every_field_is_sent_as_the_server_reads_it(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    with Client(server.url) as client:
        client.push(
            None, keys=["a"], mids=["42", 43], rooms=["r"], all=True, op=0, durable=True, ttl_s=60,
            deliver_at=datetime(2030, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=1))), priority="high", trace=True,
            server="h:1", speed=5, request_id=None,
        )  # fmt: skip
    assert server.asked[0].body == {
        "keys": ["a"],
        "mids": ["42", 43],
        "rooms": ["r"],
        "all": True,
        "op": 0,
        "msg": None,
        "durable": True,
        "ttl_s": 60,
        "deliver_at": "2030-01-02T02:04:00Z",
        "priority": "high",
        "trace": True,
        "server": "h:1",
        "speed": 5,
    }


def test_each_push_has_a_request_id_of_its_own(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    with Client(server.url) as client:
        made = [client.push(1, all=True).request_id for _ in range(2)]
    assert [asked.body["request_id"] for asked in server.asked] == made
    assert len(set(made)) == 2


def test_a_receipt_has_times_and_fates(server: StandIn) -> None:
    server.will(200, _RECEIPT)
    with Client(server.url) as client:
        receipt = client.receipt("p/1")
    assert server.asked[0].path == "/v1/pushes/p%2F1"
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    alice, bob = receipt.keys["alice"], receipt.keys["bob"]
    assert (receipt.state, receipt.accepted_at, receipt.deliver_at, receipt.raw) == ("acked", at, None, _RECEIPT)
    assert (alice.acked_at, alice.sessions, alice.acks, alice.offset, alice.epoch) == (at, 2, 1, 7, "e1")
    assert (bob.state, bob.dispatched_at, bob.ended_at, bob.reason) == ("offline", None, at, "nobody")


@pytest.mark.parametrize(
    ("durable", "states", "ended", "delivered"),
    [
        (True, ["acked"], True, True),
        (True, ["emitted"], False, False),
        (False, ["emitted"], True, True),
        (True, ["acked", "offline"], False, False),
        (False, ["emitted", "offline"], True, False),
        (True, ["acked", "expired"], True, False),
        (True, ["cancelled"], True, False),
        (True, ["scheduled"], False, False),
    ],
)
def test_a_durable_push_has_ended_when_it_is_acked_an_ephemeral_one_when_it_is_emitted(
    server: StandIn, durable: bool, states: list[str], ended: bool, delivered: bool
) -> None:
    keys = {f"k{n}": {"state": state, "sessions": 0, "acks": 0} for n, state in enumerate(states)}
    server.will(200, _RECEIPT | {"durable": durable, "keys": keys})
    with Client(server.url) as client:
        receipt = client.receipt("p1")
    assert (receipt.ended, receipt.delivered) == (ended, delivered)


def test_a_wait_is_asked_of_the_server_and_its_answer_is_the_end_of_it(server: StandIn) -> None:
    server.will(200, _RECEIPT)
    with Client(server.url) as client:
        client.receipt("p1", wait="acked", timeout_s=2)
        client.receipt("p1", wait="emitted", timeout_s=600)
    assert [asked.path for asked in server.asked] == [
        "/v1/pushes/p1?wait=acked&timeout_s=2",
        "/v1/pushes/p1?wait=emitted&timeout_s=30",
    ]


def test_cancel_tells_for_which_keys(server: StandIn) -> None:
    server.will(200, {"push_id": "p1", "cancelled": ["a"], "too_late": {"b": "emitted"}})
    with Client(server.url) as client:
        cancelled = client.cancel("p1")
    assert (cancelled.cancelled, cancelled.too_late) == (("a",), {"b": "emitted"})
    assert (server.asked[0].method, server.asked[0].path) == ("DELETE", "/v1/pushes/p1")


def test_messages_are_a_page_of_the_inbox(server: StandIn) -> None:
    stored = {"offset": 8, "epoch": "e", "push_id": "p", "op": 9, "msg": 1, "accepted_at": _AT, "expires_at": _AT}
    server.will(200, {"key": "mid:4", "epoch": "e", "last": 9, "trimmed": 2, "messages": [stored], "more": True})
    with Client(server.url) as client:
        page = client.messages("mid:4", after=7, limit=1)
    assert server.asked[0].path == "/v1/keys/mid%3A4/messages?after=7&limit=1"
    assert (page.last, page.trimmed, page.more, page.messages[0].offset) == (9, 2, True, 8)
    assert page.messages[0].accepted_at == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_who_is_online_and_which_nodes_there_are(server: StandIn) -> None:
    node = {"node": "h:1#b", "url": "http://h:9", "grpc": "h:1", "sessions": 5, "draining": True, "probe_age_ms": None}
    server.will(200, {"sessions": 3, "nodes": 2})
    server.will(200, {"rooms": [{"room": "r", "sessions": 4}]})
    server.will(200, {"nodes": [node]})
    server.will(200, {"node": "h:1#b", "url": "http://h:9", "sessions": 5, "backoff": {"min_ms": 500}})
    with Client(server.url) as client:
        assert client.online() == Online(3, 2)
        assert client.online_rooms() == [RoomCount("r", 4)]
        assert [(one.node, one.draining, one.raw) for one in client.nodes()] == [("h:1#b", True, node)]
        assert client.best_node() == BestNode("h:1#b", "http://h:9", 5, {"min_ms": 500})


def test_a_refusal_is_not_repeated_and_carries_the_problems_fields(server: StandIn) -> None:
    server.will(422, _INVALID)
    with Client(server.url) as client, pytest.raises(Problem) as refused:
        client.push(1, op=-1)
    assert len(server.asked) == 1
    problem = refused.value
    assert (problem.status, problem.type, problem.detail) == (422, "urn:cloudpush:invalid-fields", "op: too small")
    assert problem.errors == (FieldError("op", "too small"),)
    assert str(problem) == "422 The request has fields at fault: op: too small"


def test_an_error_page_of_something_else_keeps_its_status(server: StandIn) -> None:
    server.will(502, "<html>Bad Gateway</html>")
    with Client(server.url) as client, pytest.raises(Problem) as refused:
        client.nodes()
    assert (refused.value.status, refused.value.title, refused.value.type) == (502, "Bad Gateway", "about:blank")


@pytest.mark.parametrize("answer", ["<html>hello</html>", [], {}, {"sessions": 1}])
def test_an_answer_that_is_not_ours_is_no_success(server: StandIn, answer: object) -> None:
    server.will(200, answer)
    with Client(server.url) as client, pytest.raises(Problem, match="not an answer of cloudpush"):
        client.online()


def test_names_are_quoted_in_paths(server: StandIn) -> None:
    server.will(200, {"room": "live://1/2", "sessions": 3})
    with Client(server.url) as client:
        assert client.online_room("live://1/2?x") == 3
    assert server.asked[0].path == "/v1/online/rooms/live%3A%2F%2F1%2F2%3Fx"


def test_threads_share_a_client_but_no_connection(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    sessions: list[object] = []
    with Client(server.url) as client:

        def push() -> None:
            client.push(1, all=True)
            sessions.append(client._http._session())

        threads = [threading.Thread(target=push) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(set(map(id, sessions))) == 4
    assert len(server.asked) == 4


def test_a_netrc_does_not_replace_the_api_key(server: StandIn, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.will(202, _ACCEPTED)
    with Client(server.url, api_key="key") as client:
        client.push(1, all=True)
    assert server.asked[0].headers["Authorization"] == "Bearer key"
