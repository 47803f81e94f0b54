"""A client of the wire as it sees it: the bytes of a websocket become Engine.IO packets, and every oddity is an error.

Refuses to share code with what is tested, but for the socket between them.
"""

import base64
import io
from typing import Any
from urllib.parse import urlencode

from tests.fakes.client_frames import frame
from tests.fakes.scripted_socket import ScriptedSocket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_ANSWERED = b"HTTP/1.1 101 Switching Protocols\r\n"


class WebsocketClient:
    """The client's end of *sock*; *closed* is code and reason of the Close frame, once it has come."""

    def __init__(self, sock: ScriptedSocket) -> None:
        self.sock = sock
        self.closed: tuple[int, str] | None = None
        self._buffer = b""
        self._answered = False

    def say(self, packet: str | bytes) -> None:
        """Send a packet."""
        self.sock.said += frame(TEXT, packet.encode()) if isinstance(packet, str) else frame(BINARY, packet)

    def say_close(self, code: int) -> None:
        """Send a Close frame."""
        self.sock.said += frame(CLOSE, code.to_bytes(2, "big"))

    def ping(self) -> None:
        """Send a Ping frame."""
        self.sock.said += frame(PING, b"are you there")

    def read(self, size: int) -> list[bytes]:
        """Read some bytes; give the packets that are complete, in the form they have in a polling payload."""
        self._buffer += bytes(self.sock.unread[:size])
        del self.sock.unread[:size]
        if not self._answered:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            assert (head + end).startswith(_ANSWERED) or not end, head
            if not end:
                return []
            self._answered, self._buffer = True, rest
        packets = []
        while (taken := _first_frame(self._buffer)) is not None:
            opcode, payload, self._buffer = taken
            assert self.closed is None, f"after the Close frame: {opcode} {payload[:40]!r}"
            if opcode == TEXT:
                packets.append(payload.decode().encode())
            elif opcode == BINARY:
                packets.append(b"b" + base64.b64encode(payload))
            elif opcode == CLOSE:
                self.closed = int.from_bytes(payload[:2], "big"), payload[2:].decode()
            else:
                assert opcode == PONG, f"a frame of opcode {opcode}"
                assert payload == b"are you there"
        return packets

    @property
    def has_ended(self) -> bool:
        """Whether it has read all there will ever be, and that ended with a whole frame."""
        assert not (self.sock.is_done and not self.sock.unread and self._buffer), (
            f"cut off in a frame: {self._buffer!r}"
        )
        return self.sock.is_done and not self.sock.unread


def environ_of(method: str, sid: str, body: bytes, *, websocket: bool) -> dict[str, Any]:
    """Give the WSGI environ of a request."""
    query = {"EIO": "4", "transport": "websocket" if websocket else "polling"} | ({"sid": sid} if sid else {})
    environ = {
        "REQUEST_METHOD": method,
        "QUERY_STRING": urlencode(query),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    if websocket:
        environ |= {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade", "HTTP_HOST": "localhost"}
        environ |= {"HTTP_SEC_WEBSOCKET_VERSION": "13", "HTTP_SEC_WEBSOCKET_KEY": KEY}
    return environ


def _first_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Give opcode, payload and what follows; None when the frame is not complete.  RFC 6455 §5.2."""
    if len(data) < 2:
        return None
    assert data[0] in {0x80 | opcode for opcode in (TEXT, BINARY, CLOSE, PING, PONG)}, f"no frame: {data[:40]!r}"
    short, start = data[1], 2
    assert short < 0x80, "masked"
    size = short
    if short > 125:
        start += 2 if short == 126 else 8
        size = int.from_bytes(data[2:start], "big")
        assert len(data) < start or size > (125 if short == 126 else 65535), "not the shortest form"
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]
