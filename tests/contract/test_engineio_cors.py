"""Which web pages may use a running node, as a browser asks it: CORS for polling, Origin for websocket.

Source: the Fetch standard, section "CORS protocol".  The form of a refusal is the reference server's: code 4 and status
403; over websocket it answers 400, and 403 is good here too.
"""

import pytest

from tests.parts.wire import POLLING, WEBSOCKET, Wires

pytestmark = pytest.mark.services

SETTINGS = {"CLOUDPUSH_ALLOWED_ORIGINS": '["https://good.example"]'}
_GOOD, _BAD = "https://good.example", "https://bad.example"
_ALLOW = "Access-Control-Allow-"


def test_a_page_that_may_reads_every_answer(wires: Wires) -> None:
    session = wires.polling()
    for method, query, body in (("GET", POLLING, b""), ("POST", session.query, b"40"), ("GET", session.query, b"")):
        answer = wires.request(method, query, body, {"Origin": _GOOD})
        assert answer.status == 200
        assert answer.headers[f"{_ALLOW}Origin"] == _GOOD
        assert answer.headers[f"{_ALLOW}Credentials"] == "true"


def test_a_page_that_may_reads_why_it_was_refused(wires: Wires) -> None:
    answer = wires.request("GET", f"{POLLING}&sid=unknown", headers={"Origin": _GOOD})
    assert answer.status == 400
    assert answer.headers[f"{_ALLOW}Origin"] == _GOOD


def test_another_page_is_forbidden_and_opens_nothing(wires: Wires) -> None:
    answer = wires.request("GET", POLLING, headers={"Origin": _BAD})
    status, body = answer.refusal
    assert (status, body["code"]) == (403, 4)
    assert body.keys() == {"code", "message"}
    assert answer.headers[f"{_ALLOW}Origin"] is None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_page_cannot_use_a_sid_it_was_told(wires: Wires, method: str) -> None:
    session = wires.polling()
    body = b"1" if method == "POST" else b""
    assert wires.request(method, session.query, body, {"Origin": _BAD}).status == 403
    session.connect()


def test_a_client_that_is_no_page_needs_no_origin(wires: Wires) -> None:
    answer = wires.request("GET", POLLING)
    assert answer.status == 200
    assert answer.headers[f"{_ALLOW}Origin"] is None


@pytest.mark.parametrize("query", [POLLING, f"{POLLING}&sid=any"])
def test_a_preflight_says_what_a_page_may_send(wires: Wires, query: str) -> None:
    asked = {
        "Origin": _GOOD,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = wires.request("OPTIONS", query, headers=asked)
    assert answer.status in (200, 204)
    assert answer.headers[f"{_ALLOW}Origin"] == _GOOD
    assert answer.headers[f"{_ALLOW}Credentials"] == "true"
    assert "POST" in answer.headers[f"{_ALLOW}Methods"]
    assert "content-type" in answer.headers[f"{_ALLOW}Headers"].lower()


def test_a_preflight_of_another_page_allows_nothing(wires: Wires) -> None:
    answer = wires.request("OPTIONS", POLLING, headers={"Origin": _BAD, "Access-Control-Request-Method": "POST"})
    assert answer.headers[f"{_ALLOW}Origin"] is None


def test_a_websocket_of_a_page_that_may_is_taken_and_of_another_is_refused(wires: Wires) -> None:
    wires.websocket(WEBSOCKET, [f"Origin: {_GOOD}"]).open()
    assert wires.refused_websocket(WEBSOCKET, [f"Origin: {_BAD}"]) in (400, 403)


def test_another_page_cannot_upgrade_a_session(wires: Wires) -> None:
    session = wires.polling()
    assert wires.refused_websocket(f"{WEBSOCKET}&sid={session.sid}", [f"Origin: {_BAD}"]) in (400, 403)
    session.connect()
