"""Accepts TCP connections, and tells plain websocket handshakes from everything else.

A new connection costs no greenlet until it has said what it wants.  Its first bytes are looked at without taking
them: a complete and usual websocket handshake is answered here, which is what keeps a reconnect storm cheap;
everything else, be it only unusual, goes untouched to the HTTP server, which knows all the rules.

Bounds: a connection that says nothing, or begins a request and does not come to the end of its head, is closed after
a while; there are never more greenlets than *most*; when the process has no file descriptor left, accepting stops for
a moment instead of spinning.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from eventlet import GreenPool

from cloud_node.wire import handshake
from cloud_node.wire.engine import Engine
from cloud_node.wire.reactor import NOTHING, READ
from cloud_node.wire.wheel import NEVER

_ACCEPT_AT_ONCE = 64
_SILENT_S = 10.0
_REST_S = 0.5
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_METHODS = (b"GET ", b"POST ", b"OPTIONS ", b"HEAD ")
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

log = structlog.get_logger()


class HttpServer(Protocol):
    """Who serves what is not a plain handshake; see seam.py."""

    def serve(self, sock: socket.socket, address: Any) -> None: ...  # noqa: D102


class Door:
    """Accepts from *listener*, a non-blocking socket.

    *admits* says whether a handshake may be answered here: nothing speaks against it but what HTTP has to say.
    """

    def __init__(
        self,
        listener: socket.socket,
        engine: Engine,
        http: HttpServer,
        admits: Callable[[handshake.Upgrade], bool],
        path: str,
        most: int,
    ) -> None:
        self._listener = listener
        self._engine = engine
        self._http = http
        self._admits = admits
        self._path = path
        self._pool = GreenPool(most)
        self.slot = NEVER
        engine.reactor.wait_for(listener.fileno(), READ, self, before=NOTHING)

    def readable(self) -> None:
        """Accept what waits."""
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                log.error("cannot accept", reason=str(error), hint="raise the limit of open files (ulimit -n)")
                self._rest()
                return
            sock.setblocking(False)
            _Arrival(self, sock, address)

    writable = readable

    def due(self) -> None:
        """Accept again."""
        if self._listener.fileno() >= 0:
            self._engine.reactor.wait_for(self._listener.fileno(), READ, self, before=NOTHING)

    def close(self) -> None:
        """Accept no more."""
        if self.slot == NEVER:
            self._engine.reactor.wait_for(self._listener.fileno(), NOTHING, self, before=READ)
        self._engine.wheel.cancel(self)
        self._listener.close()

    def _rest(self) -> None:
        self._engine.reactor.wait_for(self._listener.fileno(), NOTHING, self, before=READ)
        self._engine.wheel.set(self, _REST_S)

    def let_in(self, sock: socket.socket, address: Any, upgrade: handshake.Upgrade | None) -> None:
        """Take a connection that has begun to speak."""
        if upgrade is not None and self._is_plain(upgrade) and self._admits(upgrade):
            sock.recv(upgrade.size)  # the handshake, until now only looked at
            self._engine.open_websocket(sock, upgrade.key)
        elif self._pool.free() > 0:
            self._pool.spawn_n(self._http.serve, sock, address)
        else:
            _send_away(sock)

    def _is_plain(self, upgrade: handshake.Upgrade) -> bool:
        query = upgrade.query
        return (
            upgrade.path == self._path
            and query.get("EIO") == "4"
            and query.get("transport") == "websocket"
            and "sid" not in query
        )


class _Arrival:
    """A connection that has said nothing yet, or less than the head of a request; it has ``_SILENT_S`` for that."""

    __slots__ = ("_address", "_door", "_engine", "_seen", "_sock", "slot")

    def __init__(self, door: Door, sock: socket.socket, address: Any) -> None:
        self._door = door
        self._engine = door._engine
        self._sock = sock
        self._address = address
        self._seen = 0  # bytes of a head that is not complete
        self.slot = NEVER
        self._engine.reactor.wait_for(sock.fileno(), READ, self, before=NOTHING)
        self._engine.wheel.set(self, _SILENT_S)

    def readable(self) -> None:
        """Look at what it says."""
        try:
            head = self._sock.recv(handshake.MAX_HEAD, socket.MSG_PEEK)
        except OSError as error:
            log.debug("a connection failed before it spoke", reason=repr(error))
            head = b""
        if len(head) > self._seen and _may_go_on(head):
            # Be called again when there is more than that; if there is never more, it costs no greenlet.
            self._seen = len(head)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._seen + 1)
            return
        self._engine.reactor.wait_for(self._sock.fileno(), NOTHING, self, before=READ)
        self._engine.wheel.cancel(self)
        if head:
            if self._seen:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._door.let_in(self._sock, self._address, handshake.parse(head))
        else:
            self._sock.close()

    writable = readable

    def due(self) -> None:
        """It has been silent for too long."""
        self._engine.reactor.wait_for(self._sock.fileno(), NOTHING, self, before=READ)
        self._sock.close()


def _may_go_on(head: bytes) -> bool:
    """Tell whether it looks like the beginning of a request, of which the rest may come."""
    return len(head) < handshake.MAX_HEAD and head.startswith(_METHODS) and not (b"\n\r\n" in head or b"\n\n" in head)


def _send_away(sock: socket.socket) -> None:
    try:
        sock.send(_FULL)
    except OSError as error:
        log.debug("a connection failed before it was refused", reason=repr(error))
    sock.close()
