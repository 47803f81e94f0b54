"""One input of the fuzzer → one outcome, or an exception that should not be.  Pure.

The first byte says what reads the rest: frames as they are, frames written by a script, a request's head as it is, a
usual head that is edited, a packet.  Beside "no other exception" it asserts that chopping a stream changes nothing,
that no message is larger than allowed, and that what the fast handshake takes, the slow one would take too.
"""

import re
from collections.abc import Callable
from typing import Any

from cloud_node.wire import handshake
from cloud_node.wire import json as wire_json
from cloud_node.wire.frames import FrameError, Message, Reader
from cloud_node.wire.packets import Malformed, StrictPacket
from tests.fakes.client_frames import frame

MAX_BYTES = 4096
HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost:9000\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nOrigin: http://localhost:8000\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
SEEDS = [
    b"\0\0" + frame(1, b"3") + frame(1, b'42["join","room:a"]') + frame(9, b"p") + frame(8, b"\x03\xe8bye"),
    b"\0\x01" + frame(1, b"a" * 130, final=False) + frame(9) + frame(0, "é".encode()) + frame(2, bytes(200)),
    b"\x01\x03\x81\x00\x02hi\x01\x00\x01a\x80\x00\x01b\x82\x01\x90\xff",
    b"\x02" + HEAD,
    b"\x03\x10\x02X: 1\r\n",
    b'\x040{"key":"alice"}',
    b'\x0442["ack",{"alice":7}]',
    b'\x0421-7["join",{"_placeholder":true,"num":0}]',
    b"\x041/admin,",
]


class _Packet(StrictPacket):
    json = wire_json


def run(data: bytes) -> str:
    """Run one input; gives a name for what became of it."""
    if not data:
        return "nothing"
    return _READERS[data[0] % len(_READERS)](data[1:])


def environ_of(upgrade: handshake.Upgrade) -> dict[str, str]:
    """Give the WSGI environ that an HTTP server would make of the same request."""
    headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in upgrade.headers.items()}
    return {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", **headers}


def outcome_of(chunks: list[bytes]) -> tuple[list[Message], tuple[int, str] | None]:
    """Give the messages of a stream and, if it is refused, why."""
    reader, out = Reader(MAX_BYTES), list[Message]()
    try:
        for chunk in chunks:
            reader.feed(memoryview(chunk), out)
    except FrameError as error:
        return out, (error.code, error.reason)
    return out, None


def _frames(data: bytes) -> str:
    step, stream = (data[0] if data else 0) + 1, data[1:]
    whole = outcome_of([stream])
    chopped = outcome_of([stream[at : at + step] for at in range(0, len(stream), step)])
    assert whole == chopped, (whole, chopped)
    messages, flaw = whole
    assert all(isinstance(payload, str) == (opcode == 1) for opcode, payload in messages)
    assert all(len(payload) <= MAX_BYTES for _, payload in messages)
    if flaw is not None:
        assert flaw[0] in {1002, 1007, 1009}
        return f"frames: {flaw[0]} {flaw[1].rstrip('0123456789')}"
    return f"frames: read {'+'.join(sorted({str(opcode) for opcode, _ in messages})) or 'nothing'}"


def _scripted_frames(data: bytes) -> str:
    """Write frames as the script says: first byte, form of the length and mask, size, then that much payload."""
    stream, at = data[:1], 1
    while len(data) - at >= 3:
        first, form, size = data[at : at + 3]
        at += 3
        payload = data[at : at + size] * (64 if form & 8 else 1)
        at += size
        width = (None, None, 2, 8)[form & 3]
        mask = None if form & 4 and form & 16 else bytes((first, form, size, at & 0xFF))
        final, reserved, opcode = bool(first & 0x80), first >> 4 & 7 if form & 32 else 0, first & 15
        stream += frame(opcode, payload, final=final, reserved=reserved, mask=mask, width=width)
    return _frames(stream)


def _head(data: bytes) -> str:
    upgrade = handshake.parse(data)
    if upgrade is None:
        return "handshake: left to HTTP"
    assert data[: upgrade.size].endswith(b"\r\n\r\n")
    assert handshake.flaw(environ_of(upgrade)) is None
    assert handshake.response(upgrade.key).endswith(b"\r\n\r\n")
    return "handshake: upgrade"


def _edited_head(data: bytes) -> str:
    if len(data) < 2:
        return _head(HEAD)
    at = int(data[0] / 255 * len(HEAD))
    return _head(HEAD[:at] + data[2:] + HEAD[at + (data[1] & 31) :])


def _packet(data: bytes) -> str:
    try:
        packet: Any = _Packet(encoded_packet=data.decode(errors="replace"))
    except Malformed as flaw:
        return "packet: " + re.split("[:'\"]", str(flaw))[0].strip()
    assert packet.packet_type in {0, 1, 2, 3, 5, 6}
    return f"packet: type {packet.packet_type}"


_READERS: list[Callable[[bytes], str]] = [_frames, _scripted_frames, _head, _edited_head, _packet]
