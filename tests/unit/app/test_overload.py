"""What callers see when too much waits already: who is refused, how, and that nothing is left of it."""

from typing import Any

import pytest

from tests.parts.web import Web, make_web

_PUSH = {"keys": ["alice"], "msg": 1}
_DEEP = 1_000_000


def _overloaded(*queues: str) -> Web:
    web = make_web()
    web.see(**dict.fromkeys(queues, _DEEP))
    return web


def _statuses(web: Web) -> dict[str, int]:
    return {name: web.post({**_PUSH, "priority": name}).status_code for name in ("high", "normal", "bulk")}


@pytest.mark.parametrize(
    ("deep", "statuses"),
    [
        ((), {"high": 202, "normal": 202, "bulk": 202}),
        (("bulk",), {"high": 202, "normal": 202, "bulk": 429}),
        (("normal",), {"high": 202, "normal": 429, "bulk": 429}),
        (("high",), {"high": 503, "normal": 429, "bulk": 429}),
    ],
)
def test_bulk_gives_way_first_and_high_last(deep: tuple[str, ...], statuses: dict[str, int]) -> None:
    assert _statuses(_overloaded(*deep)) == statuses


def test_a_refusal_says_when_to_try_again() -> None:
    web = _overloaded("bulk")
    response = web.post({**_PUSH, "priority": "bulk"})
    assert (response.headers["Retry-After"], response.content_type) == ("1", "application/problem+json")
    assert response.json == {
        "type": "urn:cloudpush:overloaded",
        "title": "Too much waits already",
        "status": 429,
        "detail": "too much waits already for pushes of priority bulk",
        "errors": [],
    }


@pytest.mark.parametrize(
    "fields",
    [{}, {"durable": True}, {"trace": True}, {"delay_s": 5}, {"request_id": "r"}, {"request_id": "r", "durable": True}],
    ids=["ephemeral", "durable", "traced", "scheduled", "repeatable", "repeatable-durable"],
)
def test_a_refused_push_leaves_nothing_behind(fields: dict[str, Any]) -> None:
    web = _overloaded("normal")
    assert web.post({**_PUSH, **fields}).status_code == 429
    assert (web.memory.round_trips, web.memory.empty, web.kept.messages) == (0, True, [])


def test_a_push_that_is_on_record_is_not_refused_once_it_was_written() -> None:
    web = make_web()
    web.memory.fail = lambda _trip: web.see(normal=_DEEP)  # fails nothing, but between write and commit it gets full
    assert web.post({**_PUSH, "durable": True}).status_code == 202
    assert web.post({**_PUSH, "durable": True}).status_code == 429


def test_im_clouds_callers_are_told_in_their_envelope() -> None:
    response = _overloaded("normal").post({"msg": "x"}, "/im/push/all")
    assert (response.status_code, response.json["code"], response.headers["Retry-After"]) == (429, 429, "1")


def test_a_disconnect_is_refused_only_with_what_is_urgent() -> None:
    path = "/v1/keys/alice/sessions"
    assert _overloaded("normal", "bulk").call("DELETE", path).status_code == 202
    refused = _overloaded("high").call("DELETE", path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")


def test_reads_go_on() -> None:
    web = _overloaded("high", "normal", "bulk")
    assert web.get("/v1/online").status_code == 200
    assert web.get("/health/ready").status_code == 200


def test_refusals_are_counted_by_priority() -> None:
    web = _overloaded("normal")
    _statuses(web)
    lines = web.get("/metrics").text.splitlines()
    assert 'cloudpush_overload_refusals_total{priority="normal"} 1.0' in lines
    assert 'cloudpush_overload_refusals_total{priority="bulk"} 1.0' in lines
    assert 'cloudpush_pushes_refused_total{status="429"} 2.0' in lines
