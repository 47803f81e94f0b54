"""Many raw websocket sessions on one thread: each reads or not, as it is told, and notes the numbers it was pushed.

Refuses to answer anything but Engine.IO pings, and to hide what a client must not see: broken frames are errors.
"""

import contextlib
import json
import re
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.parts.process import NotInTime
from tests.parts.wire import BINARY, CLOSE, PONG, TEXT, WEBSOCKET, frame

_CONNECT_S = 10.0
_READ_BYTES = 1 << 18
_PUSH = re.compile(rb'42\d*\["push"')  # with a number where an answer is asked for
_NUMBER = re.compile(rb'"n": ?(\d+)')
_SHOWN = 120


class Member:
    """One session that answers to *key* and is in *rooms*; *buffer* bounds the bytes that its kernel takes unread.

    *auth* is what else it says when it connects.
    """

    def __init__(self, port: int, key: str, rooms: Iterable[str] = (), buffer: int | None = None, **auth: Any) -> None:
        self.key = key
        self.is_ready = False
        self.numbers: list[int] = []
        self.closed: tuple[int, str] | None = None  # by a Close frame
        self.ended = False
        self._buffer = b""
        self._answered = False
        self.sock = socket.socket()
        if buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(_CONNECT_S)
        self.sock.connect(("127.0.0.1", port))
        said = json.dumps({"key": key, "rooms": list(rooms)} | auth)
        # The CONNECT follows at once: whoever reads a handshake must not read over its end.
        self.sock.sendall(handshake(port) + frame(TEXT, b"40" + said.encode()))
        self.sock.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    def read(self) -> None:
        """Read once what there is."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.ended = not data
        self._buffer += data
        if not self._answered:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._answered, self._buffer = True, rest
        at = 0
        for start, end_at in self._frames():
            self._take(self._buffer[at] & 0x0F, start, end_at)
            at = end_at
        self._buffer = self._buffer[at:]

    @property
    def is_whole(self) -> bool:
        """Whether what was read ends with the end of a frame."""
        return not self._buffer

    def _frames(self) -> Iterator[tuple[int, int]]:
        """Give where each complete frame's payload begins and ends."""
        data, at = self._buffer, 0
        while len(data) - at >= 2:
            assert data[at] in {0x80 | TEXT, 0x80 | BINARY, 0x80 | CLOSE, 0x80 | PONG}, data[at : at + _SHOWN]
            size, start = data[at + 1], at + 2
            if size > 125:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                return
            yield start, start + size
            at = start + size

    def _take(self, opcode: int, start: int, end: int) -> None:
        data = self._buffer
        assert self.closed is None, f"after the Close frame: {data[start:end][:_SHOWN]!r}"
        if opcode == CLOSE:
            self.closed = int.from_bytes(data[start : start + 2], "big"), data[start + 2 : end].decode()
        elif _PUSH.match(data, start):
            number = _NUMBER.search(data, start, end)
            assert number is not None, data[start:end][:_SHOWN]
            self.numbers.append(int(number[1]))
        elif data[start:end] == b"2":
            self.sock.send(frame(TEXT, b"3"))
        elif data.startswith(b'42["ready"', start):
            self.is_ready = True

    def reset(self) -> None:
        """Break the connection with an RST, as a client that crashes or a firewall does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Crowd:
    """Members of which those that *listen* are read."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self._selector = selectors.DefaultSelector()
        for member in members:
            self.listen(member)
        self.until(lambda: all(member.is_ready for member in members), 30, "ready at all of them")

    def listen(self, member: Member) -> None:
        """Read this one from now on."""
        self._selector.register(member, selectors.EVENT_READ)

    def ignore(self, member: Member) -> None:
        """Read this one no more."""
        self._selector.unregister(member)

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Read until *condition* holds; NotInTime naming *what* when it does not within *timeout_s*."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise NotInTime(f"not within {timeout_s:g} s: {what}")
            for key, _ in self._selector.select(0.05):
                member = key.fileobj
                assert isinstance(member, Member)
                member.read()
                if member.ended:
                    self.ignore(member)

    def until_pushed(self, members: Iterable[Member], count: int, timeout_s: float = 20.0) -> None:
        """Read until each of *members* has *count* messages at least."""
        self.until(lambda: all(len(each.numbers) >= count for each in members), timeout_s, f"{count} messages")

    def close(self) -> None:
        """Close all, in whatever state it is."""
        for member in self.members:
            with contextlib.suppress(OSError):
                member.sock.close()
        self._selector.close()


def handshake(port: int, query: str = WEBSOCKET) -> bytes:
    """Give the request of a websocket handshake."""
    lines = [
        f"GET /socket.io/?{query} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
