"""Engine.IO over HTTP: each refusal with its status, body and place in the order, and what works."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.fakes.endpoint import (
    BAD_METHOD,
    BAD_REQUEST,
    BAD_VERSION,
    FORBIDDEN,
    GET,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UPGRADE,
    WEBSOCKET,
    Endpoint,
)
from tests.fakes.wire import Peer


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.rig.close()


@pytest.mark.parametrize(
    ("query", "method", "refusal"),
    [
        ("", "GET", UNKNOWN_TRANSPORT),
        ("EIO=4", "GET", UNKNOWN_TRANSPORT),
        ("EIO=4&transport=", "GET", UNKNOWN_TRANSPORT),
        ("transport=webtransport&sid=nobody&EIO=3", "PUT", UNKNOWN_TRANSPORT),
        ("transport=polling&sid=nobody&EIO=3", "PUT", UNKNOWN_SID),
        (f"{GET}&sid=", "POST", BAD_METHOD),
        ("transport=polling&EIO=3", "POST", BAD_METHOD),
        ("transport=polling", "PUT", BAD_METHOD),
        ("transport=polling", "GET", BAD_VERSION),
        ("transport=polling&EIO=3", "GET", BAD_VERSION),
        ("transport=polling&EIO=5", "GET", BAD_VERSION),
        ("transport=websocket&EIO=3", "GET", BAD_VERSION),
        (WEBSOCKET, "GET", BAD_REQUEST),
    ],
)
def test_a_handshake_that_is_wrong_is_refused(
    endpoint: Endpoint, query: str, method: str, refusal: tuple[str, int, str]
) -> None:
    assert endpoint.refusal(endpoint.ask(query, method)) == refusal
    assert not endpoint.rig.engine.connections
    assert endpoint.headers["Cache-Control"] == "no-store"
    assert "X-Cors" in endpoint.headers, "else a page could not read why"


def test_a_page_of_a_bad_origin_is_refused_before_all_else(endpoint: Endpoint) -> None:
    for query in ("", GET, WEBSOCKET):
        for method in ("GET", "POST", "OPTIONS"):
            assert endpoint.refusal(endpoint.ask(query, method, HTTP_ORIGIN="http://evil")) == FORBIDDEN
    assert endpoint.ask(GET, HTTP_ORIGIN="http://good").startswith(b'0{"sid":')
    assert endpoint.headers["X-Cors"] == "http://good"


@pytest.mark.parametrize(
    ("query", "method", "environ", "refusal"),
    [
        ("transport=polling", "GET", {}, BAD_VERSION),
        ("transport=polling&EIO=3", "PUT", {}, BAD_VERSION),
        (GET, "PUT", {}, BAD_REQUEST),
        (GET, "DELETE", {}, BAD_REQUEST),
        (GET, "HEAD", {}, BAD_REQUEST),
        (GET, "GET", UPGRADE, BAD_REQUEST),
        (WEBSOCKET, "GET", {}, BAD_REQUEST),
        (WEBSOCKET, "POST", UPGRADE, BAD_REQUEST),
    ],
)
def test_a_request_of_a_session_that_is_wrong_is_refused_and_the_session_goes_on(
    endpoint: Endpoint, query: str, method: str, environ: dict[str, str], refusal: tuple[str, int, str]
) -> None:
    connection = endpoint.polling()
    assert endpoint.refusal(endpoint.ask(f"{query}&sid={connection.sid}", method, **environ)) == refusal
    assert not connection.closed
    endpoint.rig.engine.fanout.send(connection, b"4a")
    assert endpoint.poll(connection) == b"4a"


@pytest.mark.parametrize("environ", [{}, UPGRADE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_session_on_a_websocket_takes_no_other_request(
    endpoint: Endpoint, method: str, environ: dict[str, str]
) -> None:
    connection, peer = endpoint.rig.websocket()
    query = WEBSOCKET if environ else GET
    assert endpoint.refusal(endpoint.ask(f"{query}&sid={connection.sid}", method, **environ)) == BAD_REQUEST
    endpoint.rig.engine.fanout.send(connection, b"4a")
    assert peer.texts == ["4a"]


def test_a_websocket_handshake_with_a_flaw_is_answered_as_http_wants(endpoint: Endpoint) -> None:
    answer = endpoint.ask(WEBSOCKET, **{**UPGRADE, "HTTP_SEC_WEBSOCKET_VERSION": "8"})
    assert (endpoint.status, json.loads(answer)) == ("426 Upgrade Required", "Unsupported websocket version")
    assert endpoint.headers["Sec-WebSocket-Version"] == "13"
    connection = endpoint.polling()
    endpoint.ask(f"{WEBSOCKET}&sid={connection.sid}", **{**UPGRADE, "HTTP_SEC_WEBSOCKET_KEY": "x"})
    assert endpoint.status == "400 Bad Request"
    assert (endpoint.http.taken, connection.upgrade, len(endpoint.rig.engine.connections)) == (0, None, 1)


# What works


def test_options_is_answered_for_any_origin_that_may_connect(endpoint: Endpoint) -> None:
    assert endpoint.ask("", "OPTIONS", HTTP_ORIGIN="http://good") == b""
    assert (endpoint.status, endpoint.headers["X-Cors"]) == ("200 OK", "http://good")


def test_a_handshake_gives_a_session(endpoint: Endpoint) -> None:
    answer = endpoint.ask(GET + "&t=xyz")
    sid = json.loads(answer[1:])["sid"]
    assert list(endpoint.rig.engine.connections) == [sid]
    assert endpoint.status == "200 OK"
    assert endpoint.headers["Content-Type"] == "text/plain; charset=UTF-8"


def test_a_websocket_handshake_takes_the_socket(endpoint: Endpoint) -> None:
    ours, theirs = endpoint.rig.pair()
    assert endpoint.ask(WEBSOCKET, socket=ours, **UPGRADE) == b""
    assert (endpoint.status, endpoint.http.taken) == ("", 1)
    assert endpoint.rig.read_head(theirs).startswith(b"HTTP/1.1 101")
    assert [text[0] for text in Peer(theirs).texts] == ["0"]


def test_one_upgrade_at_a_time(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    query = f"{WEBSOCKET}&sid={connection.sid}"
    assert endpoint.ask(query, **UPGRADE) == b""
    assert connection.upgrade is not None
    assert endpoint.refusal(endpoint.ask(query, **UPGRADE)) == BAD_REQUEST
    assert connection.upgrade is not None


def test_a_post_is_handled_and_answered_ok(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    assert endpoint.post(connection, b"4one\x1ebAQI=") == b"ok"
    assert endpoint.status == "200 OK"
    assert endpoint.rig.server.messages == ["one", b"\1\2"]


def test_a_long_answer_is_compressed_for_who_takes_it(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    long = b"4" + b"x" * 1023
    for accepts, compressed in (("gzip, deflate", True), ("", False)):
        endpoint.rig.engine.fanout.send(connection, long)
        answer = endpoint.poll(connection, HTTP_ACCEPT_ENCODING=accepts)
        assert (endpoint.headers.get("Content-Encoding") == "gzip") == compressed
        assert (gzip.decompress(answer) if compressed else answer) == long
    endpoint.rig.engine.fanout.send(connection, long[:-1])
    assert endpoint.poll(connection, HTTP_ACCEPT_ENCODING="gzip") == long[:-1]
