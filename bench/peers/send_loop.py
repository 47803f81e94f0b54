"""A websocket server that is one loop: one ``sock.send`` a message and session.  Arguments: port, port for orders.

The least that a server in plain Python without coalescing can do: it frames a message once, reads nothing, has one
thread and no bounds.  Orders as in bench/peers/orders.py.
"""

import base64
import hashlib
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.peers.bodies import FRAME_BYTES, body

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_BACKLOG = 512

sessions: list[socket.socket] = []


def upgrade(connection: socket.socket) -> None:
    """Answer a handshake; from then on the connection is a session."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (more := connection.recv(4096)):
            return  # somebody who only looked whether anybody listens
        head += more
    key = next(
        line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sessions.append(connection)


def frame(payload: bytes) -> bytes:
    """Frame a text message of 126 bytes to 64 KiB."""
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def burst(count: int, *, at_once: bool) -> None:  # noqa: ARG001
    """Send to all, as fast as it goes."""
    for number in range(count):
        data = frame(body(number, FRAME_BYTES))
        for session in sessions:
            session.send(data)


def paced(count: int, every_s: float) -> None:
    """Send to all, one message after the other."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number * every_s - time.monotonic()))
        data = frame(body(number, FRAME_BYTES))
        for session in sessions:
            session.send(data)


def unicast(count: int, sessions: int) -> None:
    """Send to each session in turn."""
    targets = globals()["sessions"]
    for i in range(count):
        targets[i % sessions].send(frame(body(i // sessions, FRAME_BYTES)))


_ORDERS: dict[str, Callable[..., Any]] = {"burst": burst, "paced": paced, "unicast": unicast}


def obey(connection: socket.socket) -> bool:
    """Carry out one order; gives whether there may be more."""
    line = b""
    while not line.endswith(b"\n"):
        if not (more := connection.recv(4096)):
            return False
        line += more
    order = json.loads(line)
    _ORDERS[order.pop("do")](**order)
    connection.sendall(b"{}\n")
    return True


def main() -> None:
    """Serve until killed."""
    port, orders_port = map(int, sys.argv[1:3])
    with selectors.DefaultSelector() as selector:
        listeners = [socket.create_server(("127.0.0.1", number), backlog=_BACKLOG) for number in (port, orders_port)]
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while True:
            for ready, _ in selector.select():
                it = ready.fileobj
                assert isinstance(it, socket.socket)
                if it is listeners[0]:
                    upgrade(it.accept()[0])
                elif it is listeners[1]:
                    selector.register(it.accept()[0], selectors.EVENT_READ)
                elif not obey(it):
                    selector.unregister(it)
                    it.close()


main()
