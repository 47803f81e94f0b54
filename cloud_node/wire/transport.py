"""What the rest of a node asks of its connections: hand them events, end them.

Encodes an event once, whoever gets it, and splices in a body that is JSON already.  Refuses to know about keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import structlog

from cloud_node.hub import Session
from cloud_node.wire.connection import Connection
from cloud_node.wire.engine import Engine
from cloud_node.wire.recipients import Recipients
from cloud_node.wire.seam import SocketServer

_EVENT = b"42"  # an Engine.IO MESSAGE with a Socket.IO EVENT of the namespace /
_SERVICE_RESTART = 1012  # a close code; clients reconnect after any

log = structlog.get_logger()


class Transport:
    """Writes to, and ends, the connections of one Socket.IO server.  The hub's thread only."""

    def __init__(self, sio: SocketServer, engine: Engine) -> None:
        self._sio = sio
        self._engine = engine
        self._fanout = engine.fanout
        self.begin = engine.fanout.begin
        self.flush = engine.fanout.flush

    @property
    def full(self) -> bool:
        """See fanout.Fanout."""
        return self._fanout.full

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Gather what is emitted inside, and write it at the end (which switches greenlets)."""
        self.begin()
        try:
            yield
        finally:
            self.flush()

    def connection_of(self, sid: str) -> Connection | None:
        """Find the connection of a Socket.IO sid."""
        connection: Connection | None = self._sio.connection_of(sid)
        return connection

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        """Hand one event to all; gives how many took it.  With *ack_id* clients may answer it, each with that number.

        One for whom too many bytes wait already is closed instead, so that its client comes back and the node's memory
        stays bounded.  Between begin and flush this does not switch greenlets.
        """
        packet = (_EVENT if ack_id is None else b"42%d" % ack_id) + orjson.dumps((event, data))
        if len(recipients.connections) == 1:
            connection = recipients.connections[0]
            self._fanout.send(connection, packet)
            return int(not connection.closed)
        self._fanout.emit(recipients, packet)
        return len(recipients)

    def send(self, session: Session, event: str, data: object) -> bool:
        """Hand one event to one session; tells whether it took it."""
        if session.connection is None or session.connection.closed:
            return False
        self._fanout.send(session.connection, _EVENT + orjson.dumps((event, data)))
        return not session.connection.closed

    def backlog(self, session: Session) -> int:
        """Give how many bytes wait for the session's client, beside what is being gathered."""
        return 0 if session.connection is None else session.connection.backlog

    def drop(self, session: Session) -> None:
        """Close the connection, after what waits is written; Socket.IO clients then reconnect by themselves."""
        if session.connection is not None:
            reason = self._engine.reason.SERVER_DISCONNECT
            session.connection.end(reason, code=_SERVICE_RESTART, said="this node is stopping: reconnect")

    def kick(self, session: Session) -> None:
        """End the session with a Socket.IO DISCONNECT: clients do not reconnect by themselves after that."""
        self._sio.disconnect(session.sid)
