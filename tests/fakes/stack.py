"""The whole wire: python-socketio on our engine, over real sockets that move when a test says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloud_node.hub import Hub
from cloud_node.identity import Identity
from cloud_node.wire import json as wire_json
from cloud_node.wire.connection import Connection
from cloud_node.wire.packets import StrictPacket
from cloud_node.wire.requests import Requests
from cloud_node.wire.seam import SocketServer
from cloud_node.wire.transport import Transport
from tests.fakes.rig import Rig
from tests.fakes.wire import Peer


class Stack:
    """A node's Socket.IO side: sessions are in the hub from their connect to their disconnect; events are answered."""

    def __init__(self, *, limit: int = 100_000) -> None:
        self.sio = SocketServer(
            async_mode="eventlet",
            async_handlers=False,
            cors_allowed_origins=["http://good"],
            json=wire_json,
            serializer=StrictPacket,
        )
        self.rig = Rig(self.sio.eio, limit=limit)
        self.engine = self.rig.engine
        self.sio.eio.requests = Requests(self.engine, self.sio.eio)
        self.transport = Transport(self.sio, self.engine)
        self.hub = Hub(lambda _key, _count: None)
        self.told: list[tuple[str, str, Any]] = []
        self.refuses = False
        self.sio.on("connect", self._connect)
        self.sio.on("disconnect", self._disconnect)
        self.sio.on("*", self._event)

    def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> bool | None:
        self.told.append(("connect", sid, auth))
        assert environ == {}, "a request's environ is not kept"
        if self.refuses:
            return False
        self.hub.add(sid, Identity("alice"), self.transport.connection_of(sid))
        return None

    def _disconnect(self, sid: str, reason: str) -> None:
        self.hub.remove(sid)
        self.told.append(("disconnect", sid, reason))

    def _event(self, event: str, sid: str, *args: Any) -> list[Any]:
        self.told.append((event, sid, args))
        return list(args)

    @property
    def reasons(self) -> list[str]:
        """Why sessions ended, in order."""
        return [about for what, _, about in self.told if what == "disconnect"]

    def connect(self) -> tuple[str, Connection, Peer]:
        """Connect a client on a websocket; gives its Socket.IO sid too."""
        connection, peer = self.rig.websocket()
        peer.say("40")
        self.rig.until(lambda: self.engine.is_joined(connection.sid))
        (answer,) = peer.texts
        assert answer.startswith('40{"sid":"')
        return answer[10:-2], connection, peer

    def ask(self, peer: Peer, packet: str) -> list[str]:
        """Send a packet; gives what comes back."""
        peer.say(packet)
        answers: list[str] = []

        def read() -> list[str]:
            answers.extend(peer.texts)
            return answers

        self.rig.until(read)
        return answers

    @property
    def leftovers(self) -> dict[str, int]:
        """Count what is kept of sessions, in every place that keeps something."""
        manager = self.sio.manager
        places: dict[str, Any] = {
            "engine": self.engine.connections,
            "leaving": self.engine._leaving,
            "reactor": self.engine.reactor,
            "wheel": [timed for slot in self.engine.wheel._slots for timed in slot],
            "hub": self.hub,
            "environ": self.sio.environ,
            "attachments": self.sio._binary_packet,
            "sids": manager._sids,
            "eio sids": manager._eio,
            "on the way": manager._on_the_way,
            "callbacks": manager.callbacks,
            "posting": self.sio.eio.requests._posting,
        }
        return {place: len(kept) for place, kept in places.items() if len(kept)}


@contextmanager
def stack(*, limit: int = 100_000) -> Iterator[Stack]:
    """A stack whose sockets are closed in the end."""
    it = Stack(limit=limit)
    try:
        yield it
    finally:
        it.rig.close()
