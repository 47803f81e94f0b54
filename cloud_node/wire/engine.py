"""Engine.IO connections of this node: how they open, beat and end.

Owns them by their sid, in the dictionary that python-engineio's server looks into as well.  Refuses to read HTTP
(requests.py) and to know the namespaces and events on top (python-socketio does).
"""

import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

import orjson
import structlog

from cloud_node.wire import handshake
from cloud_node.wire.connection import PING, Connection, frame
from cloud_node.wire.fanout import Fanout
from cloud_node.wire.reactor import Reactor
from cloud_node.wire.recipients import Recipients
from cloud_node.wire.upgrade import Upgrade
from cloud_node.wire.websocket import Websocket
from cloud_node.wire.wheel import Wheel

log = structlog.get_logger()


class EngineServer(Protocol):
    """What is needed of python-engineio's server; see seam.py."""

    sockets: MutableMapping[str, Any]
    reason: Any

    def generate_id(self) -> str: ...  # noqa: D102
    def tell_connected(self, sid: str) -> None: ...  # noqa: D102
    def tell_message(self, sid: str, data: str | bytes) -> None: ...  # noqa: D102
    def tell_disconnected(self, sid: str, reason: str) -> None: ...  # noqa: D102
    def is_joined(self, sid: str, /) -> bool: ...  # noqa: D102


class Engine:
    """The connections of one server.  *limit* bounds the bytes that wait for each; *on_slow* counts who passed it."""

    def __init__(
        self,
        server: EngineServer,
        *,
        ping_interval_s: float,
        ping_timeout_s: float,
        limit: int,
        max_message: int,
        on_slow: Callable[[], object],
        spawn: Callable[..., object],
        sleep: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self.connections: MutableMapping[str, Connection] = server.sockets
        self._leaving: dict[str, Connection] = {}
        self.reason = server.reason
        self.tell_message = server.tell_message
        self.is_joined = server.is_joined
        self.ping_interval_s = ping_interval_s
        self.ping_timeout_s = ping_timeout_s
        self.limit = limit
        self.max_message = max_message
        self._on_slow = on_slow
        self.spawn = spawn
        self._sleep = sleep
        self.pause: Callable[[], object] = lambda: sleep(0)
        shortest = min(ping_interval_s, ping_timeout_s)
        longest = max(ping_interval_s, ping_timeout_s, 10.0)
        self.wheel = Wheel(min(0.25, shortest / 8), longest, self._send_pings, clock)
        self.fanout = Fanout(frame, self.pause)
        self.reactor = Reactor()
        self._to_ping: list[Connection] = []

    def start(self, whenever_ready: Callable[[int, Callable[[int], None]], object]) -> None:
        """Begin to serve all connections; *whenever_ready* is seam.whenever_ready."""
        self.reactor.start(whenever_ready)
        self.spawn(self.wheel.serve, self._sleep)

    # How they open.

    def open_polling(self) -> Connection:
        """Open a connection that polls; what it has to fetch first is its handshake."""
        connection = self._new()
        connection.packets.append(self._handshake(connection.sid, ["websocket"]))
        return connection

    def open_websocket(self, sock: socket.socket, key: str) -> Connection:
        """Open a connection on *sock*, whose client sent an upgrade request with this *key*."""
        connection = self._new()
        websocket = self._websocket(sock, connection)
        connection.adopt(websocket)
        websocket.write(handshake.response(key) + frame(self._handshake(connection.sid, [])))
        return connection

    def open_upgrade(self, connection: Connection, sock: socket.socket, key: str) -> None:
        """Let the client on *sock* try to take over *connection*, which polls."""
        upgrade = Upgrade(self, connection)
        upgrade.websocket = self._websocket(sock, upgrade)
        upgrade.websocket.write(handshake.response(key))

    def _new(self) -> Connection:
        connection = Connection(self, self._server.generate_id())
        self.connections[connection.sid] = connection
        self.wheel.set(connection, self.ping_interval_s)
        self._server.tell_connected(connection.sid)
        return connection

    def _websocket(self, sock: socket.socket, owner: Connection | Upgrade) -> Websocket:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Websocket(sock, owner, self.reactor, self.wheel, limit=self.limit, max_message=self.max_message)

    def _handshake(self, sid: str, upgrades: list[str]) -> bytes:
        return b"0" + orjson.dumps(
            {
                "sid": sid,
                "upgrades": upgrades,
                "pingInterval": int(self.ping_interval_s * 1000),
                "pingTimeout": int(self.ping_timeout_s * 1000),
                "maxPayload": self.max_message,
            }
        )

    # How they beat.

    def ping(self, connection: Connection) -> None:
        """Send a ping with the others that are due now."""
        self.wheel.set(connection, self.ping_timeout_s)
        self._to_ping.append(connection)

    def _send_pings(self) -> None:
        due, self._to_ping = self._to_ping, []
        if due:
            self.fanout.begin()
            self.fanout.emit(Recipients(due), PING)  # type: ignore[arg-type]
            self.fanout.flush()

    # How they end.

    def find(self, sid: str) -> Connection | None:
        """Find an open connection, or one that has ended and whose client has not fetched its last packets."""
        return self.connections.get(sid) or self._leaving.get(sid)

    def forget(self, connection: Connection, reason: str) -> None:
        """Take note that *connection* has ended."""
        self.wheel.cancel(connection)
        self.connections.pop(connection.sid, None)
        self._server.tell_disconnected(connection.sid, reason)

    def let_leave(self, connection: Connection) -> None:
        """Keep an ended connection until its client's next poll, for a while."""
        self._leaving[connection.sid] = connection
        self.wheel.set(connection, self.ping_timeout_s)

    def has_left(self, connection: Connection) -> None:
        """Forget it altogether."""
        self.wheel.cancel(connection)
        self._leaving.pop(connection.sid, None)

    def count_slow(self, sid: str) -> None:
        """Count a session that was closed because it is too far behind."""
        log.warning("session too slow: closed", connection=sid, limit_bytes=self.limit)
        self._on_slow()
