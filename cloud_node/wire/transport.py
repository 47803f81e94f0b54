"""The seam to python-socketio and python-engineio: the only file that touches what they do not publish.

Hands events to sessions, bounds what waits for each, and ends sessions in the way that makes a client do what is
wanted next.  Refuses to know about keys.

What is touched: ``socketio.Server.eio.sockets``, ``manager.eio_sid_from_sid``; of ``engineio.Socket``: ``queue``,
``closed``, ``closing``, ``send``, ``close``; ``engineio.Server._async`` and ``handlers``.
tests/unit/cloud_node/test_transport.py has a test for each, to say which library changed.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import socketio
import structlog
from engineio import packet as engineio_packet
from engineio.exceptions import SocketIsClosedError
from socketio import packet as socketio_packet

from cloud_node.hub import Session
from cloud_node.wire.packets import Malformed

_SHOWN = 200

log = structlog.get_logger()


class Transport:
    """Writes to, and ends, the connections of one Socket.IO server."""

    def __init__(self, sio: socketio.Server, max_waiting: int, on_slow: Any) -> None:
        self._sio = sio
        self._max_waiting = max_waiting
        self._on_slow = on_slow
        self._websockets: dict[Any, Any] = {}
        sio.eio.on("message", self._guarded(sio.eio.handlers["message"]))
        sio.eio._async = {**sio.eio._async, "websocket": self._capturing(sio.eio._async["websocket"])}

    def emit(self, sessions: Sequence[Session], event: str, data: object) -> int:
        """Hand one event to every session, encoded once; gives how many took it.

        One that has ``max_waiting`` messages waiting already is closed, so that its client comes back and the node's
        memory stays bounded.  One that ends in the middle never spoils it for the rest.
        """
        encoded = self._sio.packet_class(socketio_packet.EVENT, namespace="/", data=[event, data]).encode()
        message = engineio_packet.Packet(engineio_packet.MESSAGE, encoded)
        return sum(self._send(session, message) for session in sessions)

    def drop(self, session: Session) -> None:
        """Close the connection, after what waits is written; Socket.IO clients then reconnect by themselves."""
        connection = self._connection(session)
        if connection is not None:
            self._close(connection, self._sio.reason.SERVER_DISCONNECT)

    def is_open(self, eio_sid: str) -> bool:
        """Whether there is an Engine.IO connection of this sid."""
        return eio_sid in self._sio.eio.sockets

    def end(self, eio_sid: str) -> None:
        """Close the Engine.IO connection of this sid, whose client does not speak the protocol."""
        if (connection := self._sio.eio.sockets.get(eio_sid)) is not None:
            self._close(connection, self._sio.reason.TRANSPORT_ERROR)

    def kick(self, session: Session) -> None:
        """End the session with a Socket.IO DISCONNECT: clients do not reconnect by themselves after that."""
        self._sio.disconnect(session.sid)

    def _send(self, session: Session, message: Any) -> bool:
        connection = self._connection(session)
        if connection is None or connection.closed or connection.closing:
            return False
        if connection.queue.qsize() >= self._max_waiting:
            log.warning("session too slow: closed", session=session.sid, waiting=connection.queue.qsize())
            self._on_slow()
            self._cut(connection)
            return False
        try:
            connection.send(message)
        except SocketIsClosedError:
            return False
        return not connection.closed

    def _cut(self, connection: Any) -> None:
        """Close without writing what waits: the client does not read it."""
        websocket = self._websockets.get(connection)
        self._close(connection, self._sio.reason.TRANSPORT_ERROR)
        if websocket is not None:
            try:
                # Wakes the greenlets that wait to write to it and to read from it.
                websocket.socket.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("already closed", reason=repr(error))

    def _close(self, connection: Any, reason: str) -> None:
        connection.close(wait=False, abort=True, reason=reason)
        # Else a polling client's next POST would find it there, closed, which engineio answers with 500.
        self._sio.eio.sockets.pop(connection.sid, None)

    def _guarded(self, handle: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
        """Wrap engineio's message handler: a malformed packet ends its connection."""

        def guarded(eio_sid: str, data: Any) -> None:
            try:
                if not isinstance(data, str) or not data:
                    raise Malformed("a message that is empty, binary or JSON by itself")
                handle(eio_sid, data)
            except Malformed as flaw:
                log.info("malformed packet: closed", reason=str(flaw)[:_SHOWN])
                self.end(eio_sid)

        return guarded

    def _connection(self, session: Session) -> Any:
        return self._sio.eio.sockets.get(self._sio.manager.eio_sid_from_sid(session.sid, "/"))

    def _capturing(self, websocket_class: Any) -> Any:
        """Wrap the websocket class so that this file learns each connection's websocket, which engineio keeps local."""
        websockets, close, reasons = self._websockets, self._close, self._sio.reason

        class Capturing(websocket_class):  # type: ignore[misc]
            def __init__(self, handler: Any, server: Any) -> None:
                connection = handler.__self__

                def handle(websocket: Any) -> Any:
                    websockets[connection] = websocket
                    try:
                        return handler(websocket)
                    except ValueError as flaw:
                        # engineio decodes frames outside of its own try: the session would stay, without a socket.
                        log.info("malformed frame: closed", reason=str(flaw)[:_SHOWN])
                        close(connection, reasons.TRANSPORT_ERROR)
                        return []
                    finally:
                        del websockets[connection]

                super().__init__(handle, server)
                self.support_legacy_versions = False  # drafts of 2010, which crash without an Origin

        return Capturing
