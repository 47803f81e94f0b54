"""Many pushes: what is sent in which call, what is sent again, and the result of each; the command, too."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloudpush import Accepted, Client, FieldError, Problem, Unreachable, many
from cloudpush.cli import main
from tests.parts.process import free_port
from tests.unit.client.stand_in import LOSE, StandIn
from tests.unit.client.test_rest_retries import Clock, patient

_PATH = "/v1/pushes:batch"
_ONE = {"keys": ["alice"], "msg": 1}


def _accepted(*names: str) -> dict[str, Any]:
    return {"results": [{"push_id": name, "status": "accepted", "href": f"/v1/pushes/{name}"} for name in names]}


def _error(status: int, **more: Any) -> dict[str, Any]:
    said = {"type": "urn:x", "title": "No", "status": status, "detail": "no", "errors": []}
    return {"error": {**said, **more}}


def _sent(server: StandIn) -> list[list[Any]]:
    """The messages of each call."""
    assert {(asked.method, asked.path) for asked in server.asked} == {("POST", _PATH)}
    return [[push["msg"] for push in asked.body["pushes"]] for asked in server.asked]


def _ids(results: Sequence[object]) -> list[str | None]:
    return [result.push_id if isinstance(result, Accepted) else None for result in results]


def test_each_push_is_sent_as_it_would_be_alone_and_has_its_result(server: StandIn) -> None:
    server.will(
        202, {"results": [*_accepted("p1")["results"], _error(422, errors=[{"field": "op", "message": "bad"}])]}
    )
    with Client(server.url, api_key="k" * 16) as client:
        first, second = client.push_many([{**_ONE, "request_id": "mine"}, {"msg": 2, "mids": (4,), "durable": False}])
    assert first == Accepted("p1", "accepted", "/v1/pushes/p1", "mine")
    assert isinstance(second, Problem)
    assert (second.status, second.type, second.errors) == (422, "urn:x", (FieldError("op", "bad"),))
    assert second.retry_after_s is None
    (asked,) = server.asked
    made = asked.body["pushes"][1].pop("request_id")
    assert len(made) == 32
    assert asked.body == {"pushes": [{**_ONE, "request_id": "mine"}, {"msg": 2, "mids": [4]}]}
    assert asked.headers["Authorization"] == "Bearer " + "k" * 16


def test_nothing_is_sent_for_nothing_or_if_one_is_no_push(server: StandIn) -> None:
    with Client(server.url) as client:
        assert client.push_many([]) == []
        for wrong in ({"keys": ["a"]}, {**_ONE, "colour": 1}, {**_ONE, "msg": object()}, {**_ONE, "msg": float("nan")}):
            with pytest.raises((TypeError, ValueError)):
                client.push_many([_ONE, wrong])
    assert server.asked == []


def test_a_call_holds_no_more_than_the_server_takes(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MOST_PUSHES", 3)
    monkeypatch.setattr(many, "_MOST_BYTES", 1000)
    server.will(202, _accepted("a", "b", "c"))
    server.will(202, _accepted("d"))
    server.will(202, _accepted("e"))
    big = {**_ONE, "msg": "x" * 950}
    with Client(server.url) as client:
        results = client.push_many([_ONE, _ONE, _ONE, _ONE, big])
    assert _ids(results) == ["a", "b", "c", "d", "e"]
    assert [len(call) for call in _sent(server)] == [3, 1, 1]


def test_only_what_was_not_taken_is_sent_again_under_its_request_id_when_the_server_says(server: StandIn) -> None:
    busy = _error(503, retry_after_s=2)
    server.will(202, {"results": [busy, *_accepted("b")["results"], _error(409), _error(429, retry_after_s=3)]})
    server.will(202, {"results": [*_accepted("a")["results"], busy]})
    server.will(202, _accepted("d"))
    clock = Clock()
    with patient(server, clock) as client:
        results = client.push_many([{**_ONE, "msg": n} for n in range(4)])
    assert _ids(results) == ["a", "b", None, "d"]
    assert isinstance(results[2], Problem)
    assert results[2].status == 409
    assert _sent(server) == [[0, 1, 2, 3], [0, 3], [3]]
    assert clock.waits == [3.0, 2.0]
    of_last = [[push["request_id"] for push in asked.body["pushes"]][-1] for asked in server.asked]
    assert len(set(of_last)) == 1


def test_what_is_not_taken_until_the_patience_is_over_has_the_servers_reason(server: StandIn) -> None:
    server.will(202, {"results": [*_accepted("a")["results"], _error(503, retry_after_s=4)]})
    server.will(202, {"results": [_error(503, retry_after_s=4)]})
    clock = Clock()
    with patient(server, clock, patience_s=10.0) as client:
        accepted, refused = client.push_many([_ONE, _ONE])
    assert isinstance(accepted, Accepted)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.retry_after_s, clock.waits) == (503, 4.0, [4.0, 4.0])


def test_calls_share_the_patience_with_what_is_sent_again(server: StandIn) -> None:
    server.will(202, {"results": [*_accepted("a")["results"], _error(503, retry_after_s=4)]})
    server.will(503, {}, Retry_After="4")
    clock = Clock()
    with patient(server, clock, patience_s=10.0) as client:
        accepted, refused = client.push_many([_ONE, _ONE])
    assert isinstance(accepted, Accepted)
    assert isinstance(refused, Problem)
    assert clock.waits == [4.0, 4.0]


def test_a_lost_answer_is_asked_for_again_unless_a_push_has_no_request_id(server: StandIn) -> None:
    server.will(*LOSE)
    server.will(202, _accepted("a", "b"))
    with patient(server, Clock()) as client:
        assert _ids(client.push_many([_ONE, _ONE])) == ["a", "b"]
        server.answers.appendleft((*LOSE, {}))
        results = client.push_many([_ONE, {**_ONE, "request_id": None}])
    assert [type(result) for result in results] == [Unreachable] * 2
    assert len(server.asked) == 3


def test_when_a_call_cannot_be_made_the_rest_is_not_sent_and_says_why(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MOST_PUSHES", 2)
    server.will(202, _accepted("a", "b"))
    server.will(401, {"title": "An API key is needed"})
    with Client(server.url) as client:
        results = client.push_many([_ONE] * 6)
    assert _ids(results) == ["a", "b", None, None, None, None]
    assert {result.status for result in results if isinstance(result, Problem)} == {401}
    assert len(server.asked) == 2


def test_a_call_that_is_too_large_for_the_server_leaves_the_others(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MOST_PUSHES", 1)
    server.will(413, {"title": "Too large"})
    server.will(202, _accepted("b"))
    with Client(server.url) as client:
        large, other = client.push_many([_ONE, _ONE])
    assert (isinstance(large, Problem), isinstance(other, Accepted)) == (True, True)


def test_an_answer_that_is_not_ours_is_said_to_be_none(server: StandIn) -> None:
    server.will(202, _accepted("a"))
    with Client(server.url) as client:
        assert [type(result) for result in client.push_many([_ONE, _ONE])] == [Problem] * 2


def _run(url: str, stdin: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["push-many", *arguments], input=stdin, env={"CLOUDPUSH_URL": url})


def test_the_command_has_a_result_for_each_line_in_order(server: StandIn) -> None:
    server.will(
        202, {"results": [*_accepted("a")["results"], _error(422, title="At fault"), *_accepted("c")["results"]]}
    )
    text = '{"keys": ["a"], "msg": 1}\n\n{"msg": 2}\nnonsense\n[]\n{"keys": ["b"], "msg": 3, "durable": true}\n'
    result = _run(server.url, text)
    assert (result.exit_code, result.stdout) == (1, "accepted push_id=a\naccepted push_id=c\n")
    first, second, third = result.stderr.splitlines()
    assert first == "line 3: 422 At fault: no"
    assert second.startswith("line 4: ")
    assert third == "line 5: it is not a JSON object"
    assert _sent(server) == [[1, 2, 3]]
    assert server.asked[0].body["pushes"][2]["durable"] is True


def test_the_command_prints_json_and_ends_with_0_when_all_was_accepted(server: StandIn) -> None:
    server.will(202, _accepted("a"))
    result = _run(server.url, json.dumps(_ONE), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"line": 1, **_accepted("a")["results"][0]}


def test_the_command_says_when_nobody_answers() -> None:
    result = _run(f"http://127.0.0.1:{free_port()}", json.dumps(_ONE))
    assert result.exit_code == 1
    assert result.stderr.startswith("line 1: no answer from")
