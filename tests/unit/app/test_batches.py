"""POST /v1/pushes:batch: one result for each push in its order, and no push that spoils another."""

from typing import Any

import orjson
import pytest

from app import batches, requests
from proto.errors import StoreUnavailable
from tests.parts.web import Web, make_web

_PATH = "/v1/pushes:batch"
_OK: dict[str, Any] = {"keys": ["alice"], "msg": "hi"}


def _push(n: int, **more: Any) -> dict[str, Any]:
    return {"keys": [f"key-{n}"], "msg": n, **more}


def _results(web: Web, body: Any) -> list[dict[str, Any]]:
    response = web.post(body if isinstance(body, bytes) else {"pushes": body}, _PATH)
    assert response.status_code == 202, response.json
    results: list[dict[str, Any]] = response.json["results"]
    return results


def _error(result: dict[str, Any]) -> tuple[int, str, list[tuple[str, str]]]:
    error = result["error"]
    assert list(result) == ["error"]
    assert set(error) - {"retry_after_s"} == {"type", "title", "status", "detail", "errors"}
    return error["status"], error["type"], [(one["field"], one["message"]) for one in error["errors"]]


def _metric(web: Web, line: str) -> bool:
    return line in web.get("/metrics").text


def test_each_push_has_its_result_and_its_task_in_order() -> None:
    web = make_web()
    results = _results(web, [_push(n, priority=("high", "bulk")[n % 2]) for n in range(700)])
    assert [set(result) for result in results] == [{"push_id", "status", "href"}] * 700
    assert {result["status"] for result in results} == {"accepted"}
    assert [result["href"] for result in results] == [f"/v1/pushes/{result['push_id']}" for result in results]
    payloads = web.kept.payloads
    assert [payload["push_id"] for payload in payloads] == [result["push_id"] for result in results]
    assert [(payload["keys"], payload["body"]) for payload in payloads] == [([f"key-{n}"], f"{n}") for n in range(700)]
    assert len({result["push_id"] for result in results}) == 700
    assert web.memory.round_trips == 0
    assert _metric(web, 'cloudpush_pushes_accepted_total{priority="bulk"} 350.0')
    assert _metric(web, "cloudpush_batch_pushes_sum 700.0")


def test_a_push_is_validated_as_if_it_came_alone_and_spoils_no_other() -> None:
    web = make_web(max_body_bytes=4096)
    bad: dict[str, bytes] = {
        "no object": b"7",
        "unknown field": b'{"keys":["a"],"msg":1,"colour":2}',
        "wrong type": b'{"keys":"a","msg":1}',
        "no target": b'{"msg":1}',
        "a name twice": b'{"keys":["a"],"msg":{"x":1,"x":2}}',
        "deep msg": b'{"keys":["a"],"msg":' + b"[" * 65 + b"1" + b"]" * 65 + b"}",
        "integer beyond 64 bits": b'{"keys":["a"],"msg":18446744073709551616}',
        "too deep": b"[" * 300 + b"]" * 300,
        "too large": b'{"keys":["a"],"msg":"' + b"x" * 4096 + b'"}',
    }
    ok = orjson.dumps(_OK)
    members = [piece for one in bad.values() for piece in (ok, one)]
    results = _results(web, b'{"pushes":[' + b",".join(members) + b"]}")
    assert all("push_id" in result for result in results[::2])
    assert len(web.kept.messages) == len(bad)
    invalid, none = "urn:cloudpush:invalid-fields", "about:blank"
    assert dict(zip(bad, map(_error, results[1::2]), strict=True)) == {
        "no object": (422, invalid, [("", "must be a JSON object")]),
        "unknown field": (422, invalid, [("colour", "is not a known field")]),
        "wrong type": (422, invalid, [("keys", "must be a list")]),
        "no target": (422, invalid, [("keys", "name at least one target: keys, mids, rooms or all")]),
        "a name twice": (400, none, [("x", "occurs twice in one object")]),
        "deep msg": (422, invalid, [("msg", "must be nested at most 64 levels deep")]),
        "integer beyond 64 bits": (422, invalid, [("msg", "cannot be sent as JSON: integer exceeds 64-bit range")]),
        "too deep": (400, none, []),
        "too large": (413, none, []),
    }
    assert not any("retry_after_s" in result["error"] for result in results[1::2])
    assert _metric(web, 'cloudpush_pushes_refused_total{status="422"} 6.0')


def test_a_batch_of_nothing_but_bad_pushes_is_a_batch_all_the_same() -> None:
    web = make_web()
    assert [_error(result)[0] for result in _results(web, [{}, 1])] == [422, 422]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"pushes":[{"keys":["a"],"msg":1},{"keys":["a"]', 400),
        (b'{"pushes":[{"keys":["a"],"msg":1},{"keys":["a"],"msg":NaN}]}', 400),
        (b'{"pushes":[{"keys":["a"],"msg":1}]}]', 400),
        (b'{"pushes":[]}', 422),
        (b'{"pushes":7}', 422),
        (b'[{"keys":["a"],"msg":1}]', 422),
        (b'{"pushes":[{"keys":["a"],"msg":1}],"durable":true}', 422),
        (b'{"pushes":[' + b",".join([orjson.dumps(_OK)] * 1001) + b"]}", 422),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole_and_nothing_of_it_is_promised(raw: bytes, status: int) -> None:
    web = make_web()
    response = web.post(raw, _PATH)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert (web.kept.messages, web.memory.round_trips) == ([], 0)
    assert _metric(web, f'cloudpush_pushes_refused_total{{status="{status}"}} 1.0')


def test_a_batch_has_a_limit_of_its_own() -> None:
    web = make_web(max_body_bytes=1024, max_batch_bytes=2048)
    raw = orjson.dumps({"pushes": [_OK]})
    assert web.post(raw + b" " * (2048 - len(raw)), _PATH).status_code == 202
    assert web.post(raw + b" " * (2049 - len(raw)), _PATH).status_code == 413
    assert web.post(raw, _PATH, Content_Type="text/plain").status_code == 415
    assert web.post(raw, _PATH, Content_Encoding="gzip").status_code == 415


def test_a_batch_needs_the_key_that_a_push_needs() -> None:
    web = make_web(api_key="k" * 16)
    assert web.post({"pushes": [_OK]}, _PATH).status_code == 401
    assert web.post({"pushes": [_OK]}, _PATH, X_API_Key="k" * 16).status_code == 202


@pytest.mark.parametrize("fault", ["known", "silent"])
def test_when_the_broker_takes_nothing_the_call_is_refused_and_may_be_sent_again(fault: str) -> None:
    web = make_web()
    web.kept.down, web.kept.silent = ("gone", "") if fault == "known" else ("", "gone")
    response = web.post({"pushes": [_push(1), _push(2, durable=True), _push(3, request_id="r")]}, _PATH)
    assert (response.status_code, response.json["type"]) == (503, "urn:cloudpush:broker-unavailable")
    assert response.headers["Retry-After"] == "1"
    assert web.memory.empty
    assert "done" not in web.memory.requests.get("r", {})


def test_when_only_bad_pushes_could_not_have_been_taken_anyway_each_is_told_its_own_error() -> None:
    web = make_web()
    web.kept.silent = "gone"
    invalid, valid = _results(web, [{}, _OK])
    assert _error(invalid)[0] == 422
    assert _error(valid)[:2] == (503, "urn:cloudpush:broker-unavailable")
    assert valid["error"]["retry_after_s"] == 1


def test_while_the_store_is_away_what_does_not_need_it_is_taken() -> None:
    web = make_web()
    web.store.down = True
    results = _results(web, [_push(1), _push(2, server="node:9500"), _push(3, durable=True)])
    assert ["push_id" in result for result in results] == [False, True, False]
    assert {_error(results[at])[:2] for at in (0, 2)} == {(503, "urn:cloudpush:store-unavailable")}
    assert len(web.kept.messages) == 1


_FULL = 10**9


def test_a_queue_that_is_full_refuses_its_own_pushes_and_nothing_of_them_is_begun() -> None:
    web = make_web()
    web.see(bulk=_FULL)
    kinds: list[dict[str, Any]] = [{}, {"durable": True}, {"request_id": "r"}, {"trace": True}]
    pushes = [_push(n, priority=priority, **kind) for n, kind in enumerate(kinds) for priority in ("bulk", "high")]
    for push in pushes:
        if "request_id" in push:
            push["request_id"] += push["priority"]
    results = _results(web, pushes)
    assert ["push_id" in result for result in results] == [False, True] * 4
    assert {_error(result)[:2] for result in results[::2]} == {(429, "urn:cloudpush:overloaded")}
    assert all(result["error"]["retry_after_s"] >= 1 for result in results[::2])
    assert {payload["priority"] for payload in web.kept.payloads} == {"high"}
    assert len(web.memory.receipts) == 2
    assert list(web.memory.requests) == ["rhigh"]


@pytest.mark.parametrize(("priority", "status"), [("bulk", 429), ("normal", 429), ("high", 503)])
def test_a_batch_of_which_no_queue_takes_anything_is_refused_as_a_whole(priority: str, status: int) -> None:
    web = make_web()
    web.see(high=_FULL)
    response = web.post({"pushes": [_push(1, priority=priority), _push(2, durable=True, priority=priority)]}, _PATH)
    assert (response.status_code, response.json["type"]) == (status, "urn:cloudpush:overloaded")
    assert int(response.headers["Retry-After"]) >= 1
    assert (web.kept.messages, web.memory.round_trips) == ([], 0)


def test_a_broker_that_goes_away_in_between_spoils_only_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_CHUNK_PUSHES", 10)
    web = make_web()
    commit_all, calls = web.kept.commit_all, []

    def go(sent: Any, timeout_s: float) -> Any:
        calls.append(len(sent))
        web.kept.silent = "gone" if len(calls) > 2 else ""
        return commit_all(sent, timeout_s)

    monkeypatch.setattr(web.kept, "commit_all", go)
    results = _results(web, [_push(n) for n in range(35)])
    assert calls == [10, 10, 10, 5]
    assert ["push_id" in result for result in results] == [True] * 20 + [False] * 15
    assert len(web.kept.messages) == 20


@pytest.mark.parametrize(("bound", "most"), [("_CHUNK_TARGETS", 30), ("_CHUNK_BYTES", 700)])
def test_no_chunk_asks_for_much_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    monkeypatch.setattr(batches, bound, most)
    web = make_web()
    trips: list[int] = []
    web.memory.fail = trips.append
    pushes = [{"keys": [f"{at}-{n}" for n in range(10)], "msg": "x" * 100, "durable": True} for at in range(12)]
    _results(web, pushes)
    assert 3 <= len(trips) <= 4


def test_a_fault_of_ours_is_the_result_of_the_push_that_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read = requests.read_push

    def fail(value: Any, **rest: Any) -> Any:
        if value["msg"] == 1:
            raise ZeroDivisionError
        return read(value, **rest)

    monkeypatch.setattr(batches, "read_push", fail)
    first, second, third = _results(make_web(), [_push(0), _push(1), _push(2)])
    assert _error(second)[:2] == (500, "about:blank")
    assert second["error"]["detail"] == "A fault of ours; it is in the log."
    assert ("push_id" in first, "push_id" in third) == (True, True)


def test_a_fault_of_ours_in_one_chunk_leaves_the_results_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_CHUNK_PUSHES", 2)
    web = make_web()

    def fail(trip: int) -> None:
        raise ZeroDivisionError if trip == 1 else StoreUnavailable("gone")

    web.memory.fail = fail
    results = _results(web, [_push(0), _push(1), _push(2, durable=True), {}, _push(4)])
    codes = [result["error"]["status"] if "error" in result else 202 for result in results]
    assert codes == [202, 202, 500, 422, 202]


def test_the_answer_is_documented_as_one_of_two_forms_for_each_push() -> None:
    document = make_web().get("/openapi.json").json
    operation = document["paths"][_PATH]["post"]
    assert set(operation["responses"]) == {"202", "400", "401", "403", "413", "415", "422", "429", "503"}
    schemas = document["components"]["schemas"]
    assert schemas["BatchRequest"]["properties"]["pushes"]["maxItems"] == 1000
    forms = schemas["BatchResults"]["properties"]["results"]["items"]["anyOf"]
    assert [form["$ref"].rsplit("/", 1)[1] for form in forms] == ["Accepted", "Refused"]
