"""cloudpush.rest: deadlines, bounded retries, errors with their fields."""

import pytest

from cloudpush import Accepted, Client, Problem, Unreachable
from cloudpush.errors import FieldError
from tests.parts.process import free_port
from tests.unit.client.stand_in import StandIn

_ACCEPTED = {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"}
_INVALID = {
    "type": "urn:cloudpush:invalid-fields",
    "title": "The request has fields at fault",
    "status": 422,
    "detail": "op: too small",
    "errors": [{"field": "op", "message": "too small"}],
}


def test_push_gives_what_the_server_promised_and_shows_the_api_key(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    with Client(server.url + "/", api_key="k" * 16) as client:
        assert client.push({"keys": ["alice"], "msg": 1}) == Accepted("p1", "accepted", "/v1/pushes/p1")
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/pushes", {"keys": ["alice"], "msg": 1})
    assert asked.headers["Authorization"] == "Bearer " + "k" * 16


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again_after_the_time_the_server_names(server: StandIn, status: int) -> None:
    server.will(status, {}, Retry_After="2")
    server.will(status, {}, Retry_After="3")
    server.will(202, _ACCEPTED)
    waits: list[float] = []
    with Client(server.url, sleep=waits.append) as client:
        client.push({"all": True, "msg": 1})
    assert waits == [2.0, 3.0]


def test_retries_end_with_the_callers_patience(server: StandIn) -> None:
    server.will(503, {"title": "The broker cannot take it now"}, Retry_After="4")
    waits: list[float] = []
    with Client(server.url, patience_s=10, sleep=waits.append) as client, pytest.raises(Problem) as refused:
        client.push({"all": True, "msg": 1})
    assert waits == [4.0, 4.0]
    assert refused.value.retry_after_s == 4.0


def test_even_retry_at_once_ends(server: StandIn) -> None:
    server.will(429, {}, Retry_After="0")
    with Client(server.url, patience_s=1, sleep=lambda _: None) as client, pytest.raises(Problem):
        client.online()
    assert len(server.asked) <= 11


def test_a_refusal_is_not_repeated_and_carries_the_fields(server: StandIn) -> None:
    server.will(422, _INVALID)
    with Client(server.url) as client, pytest.raises(Problem) as refused:
        client.push({"op": -1})
    assert len(server.asked) == 1
    assert (refused.value.status, refused.value.errors) == (422, (FieldError("op", "too small"),))
    assert str(refused.value) == "422 The request has fields at fault: op: too small"


def test_an_error_page_of_something_else_keeps_its_status(server: StandIn) -> None:
    server.will(502, "<html>Bad Gateway</html>")
    with Client(server.url) as client, pytest.raises(Problem) as refused:
        client.nodes()
    assert (refused.value.status, refused.value.title) == (502, "Bad Gateway")


def test_an_answer_that_is_not_ours_is_no_success(server: StandIn) -> None:
    server.will(200, "<html>hello</html>")
    with Client(server.url) as client, pytest.raises(Problem, match="not an answer of cloudpush"):
        client.online()


def test_nobody_there_is_unreachable_and_not_repeated() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(Unreachable, match="no connection"):
        client.push({"all": True, "msg": 1})


def test_names_are_quoted_in_paths(server: StandIn) -> None:
    server.will(200, {"room": "live://1/2", "sessions": 3})
    with Client(server.url) as client:
        assert client.online_room("live://1/2?x") == 3
    assert server.asked[0].path == "/v1/online/rooms/live%3A%2F%2F1%2F2%3Fx"
