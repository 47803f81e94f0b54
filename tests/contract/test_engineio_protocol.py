"""A running node against the Engine.IO protocol, revision 4: handshakes, polling, payloads, refusals, closing.

Source: github.com/socketio/engine.io-protocol.  Where the document leaves the form open, that of the reference server
(the package ``engine.io``) is required: a refusal is JSON ``{"code", "message"}`` with status 400, a body over
``maxPayload`` is answered with 413.  Where the reference is laxer than the document, the document counts: EIO is
required with a sid too, a malformed payload is answered with 400.  Our own: a method that a session does not have is
refused with 400 (the reference: 500), a body that is too large ends its session.  No test has ``b`` packets from node
to client: what a node sends is JSON.
"""

import http.client
import json
from typing import Any

import pytest

from tests.parts.fleet import Node
from tests.parts.http_wire import SEPARATOR
from tests.parts.wire import POLLING, WEBSOCKET, Wires

pytestmark = pytest.mark.services

_HANDSHAKE = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


def _refusal(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return 400, {"code": code, "message": message}


_TRANSPORT = _refusal(0, "Transport unknown")
_SID = _refusal(1, "Session ID unknown")
_METHOD = _refusal(2, "Bad handshake method")
_REQUEST = _refusal(3, "Bad request")
_VERSION = _refusal(5, "Unsupported protocol version")


def test_a_polling_handshake_is_an_open_packet_and_offers_websocket(wires: Wires) -> None:
    answer = wires.request("GET", POLLING)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    (packet,) = answer.packets
    assert packet[0] == "0"
    opened = json.loads(packet[1:])
    assert opened.keys() == _HANDSHAKE
    assert (opened["upgrades"], opened["pingInterval"], opened["pingTimeout"]) == (["websocket"], 25_000, 20_000)
    assert isinstance(opened["maxPayload"], int)
    assert len(opened["sid"]) >= 16


def test_a_websocket_handshake_is_an_open_packet_and_offers_nothing(wires: Wires) -> None:
    opened = wires.websocket()
    opened.open()
    assert opened.opened.keys() == _HANDSHAKE
    assert opened.opened["upgrades"] == []


def test_each_handshake_has_a_sid_of_its_own(wires: Wires) -> None:
    assert len({wires.polling().sid for _ in range(20)}) == 20


_REFUSED: dict[str, tuple[str, str, tuple[int, dict[str, Any]]]] = {
    "no EIO": ("GET", "transport=polling", _VERSION),
    "EIO 3": ("GET", "EIO=3&transport=polling", _VERSION),
    "EIO abc": ("GET", "EIO=abc&transport=polling", _VERSION),
    "no transport": ("GET", "EIO=4", _TRANSPORT),
    "transport abc": ("GET", "EIO=4&transport=abc", _TRANSPORT),
    "transport webtransport": ("GET", "EIO=4&transport=webtransport", _TRANSPORT),
    "no query": ("GET", "", _TRANSPORT),
    "GET of an unknown sid": ("GET", f"{POLLING}&sid=unknown", _SID),
    "POST to an unknown sid": ("POST", f"{POLLING}&sid=unknown", _SID),
    "POST without sid": ("POST", POLLING, _METHOD),
    "PUT without sid": ("PUT", POLLING, _METHOD),
    "DELETE without sid": ("DELETE", POLLING, _METHOD),
    "websocket without its headers": ("GET", WEBSOCKET, _REQUEST),
}


@pytest.mark.parametrize(("method", "query", "refusal"), _REFUSED.values(), ids=_REFUSED.keys())
def test_a_bad_request_is_refused_with_its_code(
    wires: Wires, method: str, query: str, refusal: tuple[int, dict[str, Any]]
) -> None:
    assert wires.request(method, query).refusal == refusal


@pytest.mark.parametrize(
    "query",
    [
        "transport=websocket",
        "EIO=3&transport=websocket",
        "EIO=abc&transport=websocket",
        "EIO=4",
        "EIO=4&transport=abc",
        f"{WEBSOCKET}&sid=unknown",
    ],
)
def test_a_bad_websocket_handshake_is_refused_in_http(wires: Wires, query: str) -> None:
    assert wires.refused_websocket(query) == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_and_the_session_lives(wires: Wires, method: str) -> None:
    session = wires.polling()
    assert wires.request(method, session.query, b"41").refusal == _REQUEST
    session.connect()


def test_head_opens_nothing_and_takes_nothing_from_a_session(wires: Wires) -> None:
    without = wires.request("HEAD", POLLING)
    assert (without.status, without.body) == (400, b"")
    session = wires.polling()
    session.connect()
    session.send('421["nosuch"]')
    assert wires.request("HEAD", session.query).status == 400
    assert session.receive().startswith("431[")


def test_eio_is_required_with_a_sid_too_and_the_session_lives(wires: Wires) -> None:
    session = wires.polling()
    for query in (f"transport=polling&sid={session.sid}", f"EIO=3&transport=polling&sid={session.sid}"):
        assert wires.request("POST", query, b"40").refusal == _VERSION
    session.connect()


def test_another_transport_than_the_session_has_is_refused_and_the_session_lives(wires: Wires) -> None:
    session = wires.polling()
    assert wires.request("GET", f"{WEBSOCKET}&sid={session.sid}").refusal == _REQUEST
    direct = wires.websocket()
    direct.open()
    for method in ("GET", "POST"):
        assert wires.request(method, f"{POLLING}&sid={direct.opened['sid']}", b"41").refusal == _REQUEST
    direct.connect()
    session.connect()


def test_a_second_poll_is_refused_and_ends_the_session_and_the_first(wires: Wires) -> None:
    session = wires.polling()
    first = session.poll()
    assert session.get().status == 400
    assert first.answer().packets == ["1"]
    assert session.is_gone()


def test_a_second_post_at_the_same_time_is_refused_and_ends_the_session(wires: Wires) -> None:
    session = wires.polling()
    wires.begin("POST", session.query, b"4", {"Content-Length": "2"})
    wires.sync()
    assert session.post("40").status == 400
    assert session.is_gone()


def test_a_post_is_answered_ok(wires: Wires) -> None:
    session = wires.polling()
    answer = session.post("40")
    assert (answer.status, answer.body) == (200, b"ok")


_MALFORMED: dict[str, bytes] = {
    "no packet type": b"abc",
    "unknown packet type": b"9",
    "another unknown packet type": b"7x",
    "nothing": b"",
    "only a separator": b"\x1e",
    "an empty packet at the end": b'421["nosuch"]\x1e',
    "an empty packet at the beginning": b'\x1e421["nosuch"]',
    "an unknown packet after a good one": b'421["nosuch"]\x1exyz',
    "a ping, which only a server sends": b"2",
    "bad base64": b"b!!!!",
    "base64 that ends too early": b"bAQIDB",
    "no UTF-8": b'421["\xff"]',
    "half a UTF-8 character": b'421["\xe4\xbd',
}


@pytest.mark.parametrize("body", _MALFORMED.values(), ids=_MALFORMED.keys())
def test_a_malformed_payload_is_refused_and_ends_the_session(wires: Wires, body: bytes) -> None:
    session = wires.polling()
    session.connect()
    assert session.post(body).status == 400
    assert session.is_gone()


def test_a_malformed_payload_ends_the_pending_poll_with_a_close_packet(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    pending = session.poll()
    session.post("abc")
    assert pending.answer().packets == ["1"]


def test_a_body_over_maxpayload_is_too_large_and_ends_the_session(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    limit = session.opened["maxPayload"]
    session.send('421["nosuch","' + "x" * (limit - len('421["nosuch",""]')) + '"]')
    assert session.receive().startswith("431[")
    assert session.post("4" * (limit + 1)).status == 413
    assert session.is_gone()


def test_a_body_that_says_it_is_huge_is_refused_unread(wires: Wires) -> None:
    session = wires.polling()
    headers = {"Content-Length": str(10**12)}
    assert wires.request("POST", session.query, b"40", headers).status == 413
    assert session.is_gone()


@pytest.mark.parametrize("length", ["-1", "abc", "+2", "2, 3"])
def test_a_body_whose_length_is_no_number_is_refused(wires: Wires, length: str) -> None:
    session = wires.polling()
    assert wires.request("POST", session.query, b"40", {"Content-Length": length}).status == 400


def test_a_body_in_chunks_is_taken_or_refused_by_its_status(wires: Wires) -> None:
    session = wires.polling()
    status = wires.request("POST", session.query, b"2\r\n40\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}).status
    assert status in (200, 411)
    if status == 200:
        assert session.receive().startswith('40{"sid":')


@pytest.mark.parametrize("count", [2, 16, 17, 500])
def test_a_payload_may_hold_many_packets_both_ways_and_in_order(wires: Wires, count: int) -> None:
    session = wires.polling()
    session.connect()
    session.send(*[f'42{number}["nosuch"]' for number in range(count)])
    packets = session.get().packets
    assert [packet.split("[")[0] for packet in packets] == [f"43{number}" for number in range(count)]


def test_a_separator_between_quotes_is_a_separator(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    assert session.post(f'421["nosuch","{SEPARATOR}"]').status == 400  # its second half is no packet
    assert session.is_gone()


def test_what_is_not_ascii_arrives_whole_both_ways(wires: Wires) -> None:
    session = wires.polling()
    ready = session.connect()
    session.send('421["join","房间\u2028€🎉"]')
    assert json.loads(session.receive().removeprefix("431"))[0]["rooms"] == ["房间\u2028€🎉"]
    wires.push(ready["key"], "你好🎉\u2028")
    assert session.next_msgs(1) == ["你好🎉\u2028"]


@pytest.mark.parametrize("pending", [True, False])
def test_a_close_packet_ends_a_polling_session_and_frees_its_poll_with_a_noop(wires: Wires, pending: bool) -> None:
    session = wires.polling()
    session.connect()
    poll = session.poll() if pending else None
    session.send("1")
    if poll is not None:
        assert poll.answer().packets == ["6"]
    assert session.is_gone()
    assert session.post("41").status == 400


def test_a_close_packet_ends_a_websocket_session(wires: Wires) -> None:
    session = wires.session()
    session.send("1")
    session.ended()


@pytest.mark.parametrize("packet", ["", "xyz", "9", "7", "2", "b", "bAQID", "\x1e4"])
def test_a_frame_that_is_no_packet_of_a_client_ends_the_websocket(wires: Wires, packet: str) -> None:
    session = wires.session()
    session.send(packet)
    session.ended()


def test_one_http_connection_serves_many_requests(node: Node, wires: Wires) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.socketio_port, timeout=5)

    def body(method: str, query: str, payload: str | None = None) -> str:
        connection.request(method, f"/socket.io/?{query}", payload)
        return connection.getresponse().read().decode()

    connection.connect()
    kept = connection.sock
    sid = json.loads(body("GET", POLLING)[1:])["sid"]
    assert body("POST", f"{POLLING}&sid={sid}", "40") == "ok"
    assert body("GET", f"{POLLING}&sid={sid}").startswith('40{"sid":')
    assert body("GET", f"{POLLING}&sid=unknown").startswith("{")
    assert body("GET", "EIO=4").startswith("{")
    assert connection.sock is kept
    connection.close()
