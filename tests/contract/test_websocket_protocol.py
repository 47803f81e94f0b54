"""A running node against RFC 6455, as far as a client can see: handshake, frames, control frames, closing.

Whatever breaks the protocol is answered with a close frame that has the code of RFC 6455, section 7.4.1; then the node
closes the TCP connection.  Close codes for a packet that is no Engine.IO are not required here.
"""

import struct

import pytest

from tests.parts.wire import (
    BINARY,
    CLOSE,
    CONT,
    NO_CODE,
    PING,
    POLLING,
    PONG,
    TEXT,
    WEBSOCKET,
    WebSocket,
    Wires,
    frame,
)

pytestmark = pytest.mark.services

_EVENT = '421["nosuch","你好"]'.encode()
_DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture
def session(wires: Wires) -> WebSocket:
    """A connected session over websocket."""
    return wires.session()


_OFFER = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": _KEY}


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ({"Sec-WebSocket-Key": None}, {400}),
        ({"Sec-WebSocket-Key": "short"}, {400}),
        ({"Sec-WebSocket-Version": None}, {400, 426}),
        ({"Sec-WebSocket-Version": "8"}, {400, 426}),
        ({"Connection": "keep-alive"}, {400}),
        ({"Upgrade": "h2c"}, {400}),
    ],
    ids=["no key", "a short key", "no version", "version 8", "no upgrade", "another upgrade"],
)
def test_a_handshake_that_lacks_something_is_refused(
    wires: Wires, change: dict[str, str | None], statuses: set[int]
) -> None:
    offer = {name: value for name, value in {**_OFFER, **change}.items() if value is not None}
    assert wires.request("GET", WEBSOCKET, headers=offer).status in statuses


def test_header_names_and_words_of_a_handshake_have_no_case(wires: Wires) -> None:
    headers = {"upgrade": "WebSocket", "connection": "keep-alive, UPGRADE", "sec-websocket-version": "13"}
    request = wires.begin("GET", WEBSOCKET, headers={**headers, "sec-websocket-key": _KEY})
    status, accept = request.head()
    assert (status, accept["Sec-WebSocket-Accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")  # RFC 6455, section 1.3


def test_an_offer_of_permessage_deflate_is_declined_and_all_works(wires: Wires) -> None:
    websocket = wires.websocket(WEBSOCKET, [_DEFLATE])
    assert websocket.extensions is None
    websocket.open()
    ready = websocket.connect()
    websocket.send('421["nosuch","' + "x" * 50_000 + '"]')
    assert websocket.receive().startswith("431[")
    wires.push(ready["key"], "y" * 50_000)
    assert websocket.next_msgs(1) == ["y" * 50_000]


def test_a_message_in_fragments_is_one_message_even_if_a_character_is_cut(session: WebSocket) -> None:
    cut = _EVENT.index("你".encode()) + 1
    parts = [_EVENT[:1], b"", _EVENT[1:cut], _EVENT[cut:]]
    for number, part in enumerate(parts):
        session.send_raw(frame(CONT if number else TEXT, part, fin=number == len(parts) - 1))
    assert session.receive().startswith("431[")


def test_a_binary_message_in_fragments_is_one_message(session: WebSocket) -> None:
    session.send('451-1["nosuch",{"_placeholder":true,"num":0}]')
    session.send_raw(frame(BINARY, b"\x00\xff", fin=False) + frame(CONT, b"\xfe"))
    assert session.receive().startswith("431[")


def test_a_ping_between_fragments_is_answered_before_the_message_is_whole(session: WebSocket) -> None:
    session.send_raw(frame(TEXT, _EVENT[:5], fin=False) + frame(PING, b"now"))
    assert session.frame() == (PONG, b"now")
    session.send_raw(frame(CONT, _EVENT[5:]))
    assert session.receive().startswith("431[")


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(125))], ids=["empty", "short", "125 bytes"])
def test_a_ping_frame_is_answered_with_its_own_data(session: WebSocket, data: bytes) -> None:
    session.send_raw(frame(PING, data))
    assert session.frame() == (PONG, data)


def test_a_pong_that_nobody_asked_for_is_ignored(session: WebSocket) -> None:
    session.send_raw(frame(PONG, b"unasked") + frame(PONG))
    session.ask()


def test_frames_may_come_byte_by_byte_or_many_at_once(session: WebSocket) -> None:
    for byte in frame(TEXT, _EVENT):
        session.send_raw(bytes([byte]))
    assert session.receive().startswith("431[")
    session.send(*[f'42{number}["nosuch"]' for number in range(200)])
    assert [session.receive().split("[")[0] for _ in range(200)] == [f"43{number}" for number in range(200)]


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, "maxPayload"])
def test_a_frame_up_to_maxpayload_is_taken(session: WebSocket, size: int | str) -> None:
    whole = session.opened["maxPayload"] if isinstance(size, str) else size
    session.send('421["nosuch","' + "x" * (whole - len('421["nosuch",""]')) + '"]')
    assert session.receive().startswith("431[")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
@pytest.mark.parametrize("reason", [b"", "再见".encode()], ids=["no reason", "reason"])
def test_a_close_frame_is_echoed_with_its_code_and_then_tcp_ends(session: WebSocket, code: int, reason: bytes) -> None:
    session.send_raw(frame(CLOSE, struct.pack("!H", code) + reason))
    assert session.ended() == code
    session.until_end_of_stream()


def test_a_close_frame_without_a_code_is_answered(session: WebSocket) -> None:
    session.send_raw(frame(CLOSE))
    assert session.ended() in (NO_CODE, 1000)
    session.until_end_of_stream()


def test_what_comes_behind_a_close_frame_is_not_read(session: WebSocket) -> None:
    session.send_raw(frame(CLOSE, struct.pack("!H", 1000)) + frame(TEXT, _EVENT))
    assert session.ended() == 1000
    session.until_end_of_stream()


_BROKEN: dict[str, tuple[bytes, int]] = {
    "RSV1": (frame(TEXT, _EVENT, rsv=4), 1002),
    "RSV2": (frame(TEXT, _EVENT, rsv=2), 1002),
    "RSV3": (frame(TEXT, _EVENT, rsv=1), 1002),
    "RSV1 in a ping": (frame(PING, b"", rsv=4), 1002),
    "unmasked": (frame(TEXT, _EVENT, masked=False), 1002),
    "unmasked ping": (frame(PING, b"", masked=False), 1002),
    "unmasked close": (frame(CLOSE, b"\x03\xe8", masked=False), 1002),
    "opcode 3": (frame(3, _EVENT), 1002),
    "opcode 11": (frame(11, b""), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "a close in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "the end of no message": (frame(CONT, b"x"), 1002),
    "a message in a message": (frame(TEXT, b"4", fin=False) + frame(TEXT, _EVENT), 1002),
    "a binary message in a text": (frame(TEXT, b"4", fin=False) + frame(BINARY, b"x"), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close code 0": (frame(CLOSE, struct.pack("!H", 0)), 1002),
    "close code 999": (frame(CLOSE, struct.pack("!H", 999)), 1002),
    "close code 1004": (frame(CLOSE, struct.pack("!H", 1004)), 1002),
    "close code 1005": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "close code 1006": (frame(CLOSE, struct.pack("!H", 1006)), 1002),
    "close code 1015": (frame(CLOSE, struct.pack("!H", 1015)), 1002),
    "close code 2999": (frame(CLOSE, struct.pack("!H", 2999)), 1002),
    "close code 5000": (frame(CLOSE, struct.pack("!H", 5000)), 1002),
    "a reason that is no UTF-8": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "text that is no UTF-8": (frame(TEXT, b'421["\xff"]'), 1007),
    "text with a surrogate": (frame(TEXT, b'421["\xed\xa0\x80"]'), 1007),
    "text that ends in a character": (frame(TEXT, b'421["nosuch"]\xe4\xbd'), 1007),
    "fragments that end in a character": (frame(TEXT, b"42", fin=False) + frame(CONT, b"\xe4\xbd"), 1007),
    "a frame that says it is huge": (b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"mask", 1009),
}


@pytest.mark.parametrize(("sent", "code"), _BROKEN.values(), ids=_BROKEN.keys())
def test_a_broken_frame_ends_the_connection_with_its_code(session: WebSocket, sent: bytes, code: int) -> None:
    session.send_raw(sent)
    assert session.ended() == code
    session.until_end_of_stream()


def test_a_length_of_more_than_63_bits_ends_the_connection(session: WebSocket) -> None:
    session.send_raw(b"\x81\xff" + struct.pack("!Q", 1 << 63) + b"mask")
    assert session.ended() in (1002, 1009)  # not a length, or too long; both are true


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_a_frame_above_maxpayload_is_too_big(session: WebSocket, opcode: int) -> None:
    session.send_raw(frame(opcode, b"4" * (session.opened["maxPayload"] + 1)))
    assert session.ended() == 1009


def test_fragments_above_maxpayload_are_too_big_together(session: WebSocket) -> None:
    half = b"4" * (session.opened["maxPayload"] // 2 + 1)
    session.send_raw(frame(TEXT, half, fin=False) + frame(CONT, half, fin=False))
    assert session.ended() == 1009


def test_a_broken_frame_ends_an_upgraded_session_but_only_an_attempt_during_the_upgrade(wires: Wires) -> None:
    polling = wires.polling()
    polling.connect()
    attempt = wires.probe(polling)
    attempt.send_raw(frame(TEXT, b"5", rsv=4))
    assert attempt.ended() == 1002
    polling.ask()
    websocket = wires.probe(polling)
    websocket.send("5")
    websocket.ask()
    websocket.send_raw(frame(TEXT, b"5", rsv=4))
    assert websocket.ended() == 1002
    assert wires.request("GET", f"{POLLING}&sid={polling.sid}").status == 400
