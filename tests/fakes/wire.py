"""Sockets and what is on them, for tests of the wire; without greenlets, and nothing waits but `until`.

The sockets are real, since what they do when they are full, shut or reset is what matters.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from cloud_node.wire.frames import CLOSE, TEXT
from cloud_node.wire.reactor import Reactor
from tests.fakes.client_frames import frame

WAIT_S = 5.0
_BUFFER = 16_384


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Give the server's end, not blocking, and the client's end of a connection over loopback; neither buffers much."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        client.settimeout(WAIT_S)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        stack.pop_all()
    server.setblocking(False)
    return server, client


def small_pair() -> tuple[socket.socket, socket.socket]:
    """Give two ends of which the first takes little before it is full."""
    server, client = socket.socketpair()
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return server, client


def fill(sock: socket.socket) -> int:
    """Write zeros until no more is taken; gives how many."""
    count = 0
    try:
        while True:
            count += sock.send(bytes(1024))
    except BlockingIOError:
        return count


def take_all(sock: socket.socket) -> bytes:
    """Read what is there now, be it nothing."""
    taken = bytearray()
    while is_readable(sock) and (data := sock.recv(65536)):
        taken += data
    return bytes(taken)


def has_ended(sock: socket.socket) -> bool:
    """Tell whether the other end has shut it, with nothing left to read."""
    return is_readable(sock) and not sock.recv(1, socket.MSG_PEEK)


def is_readable(source: Any, within_ms: int = 0) -> bool:
    """Tell whether there is something to read, be it the end."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(within_ms))


def reset(sock: socket.socket) -> None:
    """Close so that the other end gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def until(condition: Callable[[], object], *reactors: Reactor) -> None:
    """Let *reactors* turn until *condition* holds."""
    ends = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends, "it did not come true"
        for reactor in reactors:
            is_readable(reactor._selector, 1)
            reactor.turn()


def frames_in(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Read what a server wrote: final frames without a mask, and nothing else."""
    at = 0
    while at < len(stream):
        assert stream[at] & 0xF0 == 0x80
        size, start = stream[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(stream[start : start + width], "big"), start + width
        assert start + size <= len(stream), "a frame without its end"
        yield stream[at] & 0x0F, stream[start : start + size]
        at = start + size


class Peer:
    """A client on a websocket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, *packets: str) -> None:
        """Send packets, each in a text frame, all at once."""
        self.sock.sendall(b"".join(frame(TEXT, packet.encode()) for packet in packets))

    def close(self, code: int = 1000) -> None:
        """Send a Close frame."""
        self.sock.sendall(frame(CLOSE, code.to_bytes(2, "big")))

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        """The frames that have come since it was asked last."""
        return list(frames_in(take_all(self.sock)))

    @property
    def texts(self) -> list[str]:
        """The packets that have come since it was asked last."""
        return [payload.decode() for opcode, payload in self.heard if opcode == TEXT]
