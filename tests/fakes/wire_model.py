"""Who uses a node's wire, and what each is owed: the packets *handed* to its connection, in order, and those it *got*.

The real engine and fan-out, which only note what they are asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import eventlet

from cloud_node.wire.connection import NOOP, Connection, frame
from cloud_node.wire.engine import Engine, EngineServer
from cloud_node.wire.fanout import Fanout
from cloud_node.wire.recipients import Recipients
from cloud_node.wire.wheel import Wheel
from tests.fakes.scripted_socket import ScriptedSocket
from tests.fakes.wire_client import WebsocketClient

PING_INTERVAL_S, PING_TIMEOUT_S = 25.0, 20.0


@dataclass
class Client:
    """One client: what it is owed, and what it has."""

    connection: Connection
    handed: list[bytes] = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    websocket: WebsocketClient | None = None
    trial: WebsocketClient | None = None  # may take over from polling
    probed: bool = False
    polls: list[ScriptedSocket] = field(default_factory=list)  # that are not answered
    gone: bool = False  # by its own doing, so nothing more is owed
    crossed: bool = False  # between polling and its websocket, so that the node may still wait for its polls
    is_slow: bool = False  # was cut off for it
    reason: str = ""  # why the connection ended
    dropped: bool = False  # ended by the node, in good order
    told: bool = False  # that it is over, by a CLOSE packet
    noops: int = 0  # polls that were answered with nothing
    refused: bool = False  # a poll of it: nobody knows it any more
    expired: bool = False  # it had its time to fetch the last words

    @property
    def crosses(self) -> bool:
        """Whether it has changed over to a websocket and the node has not; it will be told, but not all is owed."""
        return self.websocket is not None and self.connection.websocket is None

    def goes(self) -> None:
        """Want nothing more."""
        self.crossed, self.gone = self.crosses, True

    @property
    def lives(self) -> bool:
        """Whether all is well with it."""
        return not self.reason and not self.gone

    @property
    def progress(self) -> object:
        """Something that changes as long as anything goes on."""
        return len(self.got), len(self.heard), len(self.polls), self.told, self.noops, self.refused, self.trial

    def take(self, packets: list[bytes]) -> None:
        """Compare what came with what is owed, in order."""
        for packet in packets:
            if packet == b"3probe":
                self.probed = True
            elif packet == b"1":
                self.told = True
            elif packet == NOOP:
                self.noops += 1
            elif packet[:1] != b"0":
                assert not self.told, f"{packet[:40]!r} after CLOSE"
                at = len(self.got)
                assert at < len(self.handed), f"{packet[:40]!r} was never handed"
                assert packet == self.handed[at], f"{packet[:40]!r} instead of {self.handed[at][:40]!r}"
                self.got.append(packet)

    def read(self, size: int) -> None:
        """Read some bytes of its websockets."""
        for websocket in (self.websocket, self.trial):
            if websocket is not None:
                self.take(websocket.read(size))
        if self.websocket is not None and self.websocket.closed == (1002, "not upgraded"):
            self.goes()  # the node was first: the upgrade had taken too long, or the session had ended

    def check(self) -> None:
        """When nothing moves any more: all of it if it lives, or was dropped in good order; and the right last word."""
        websocket = self.websocket
        assert self.heard == self.said[: len(self.heard)]
        if self.lives:
            assert self.got == self.handed
            assert self.heard == self.said
            assert self.trial is None, "its poll was not answered, so it could not change over"
            assert websocket is None or (websocket.closed is None and not self.polls)
        elif self.gone or self.expired:
            assert self.reason or self.crossed or websocket is None or websocket.sock.fileno() >= 0, "not noticed"
        elif self.is_slow:
            assert websocket is None or (websocket.has_ended and websocket.closed == (1013, "too slow: reconnect"))
        elif self.dropped:
            assert self.got == self.handed
            assert self.refused if websocket is None else websocket.closed == (1012, "reconnect")


class NotingFanout(Fanout):
    """A fan-out that notes what is handed to whom."""

    def __init__(self, clients: dict[str, Client], pause: Callable[[], None]) -> None:
        super().__init__(frame, pause, slice_s=-1)
        self._clients = clients

    def emit(self, recipients: Recipients, packet: bytes) -> None:
        if len(recipients) != 1:
            for connection in recipients.connections:
                self._note(connection, packet)
        super().emit(recipients, packet)

    def send(self, connection: Any, packet: bytes) -> None:
        self._note(connection, packet)
        super().send(connection, packet)

    def _note(self, connection: Any, packet: bytes) -> None:
        if not connection.closed:
            self._clients[connection.sid].handed.append(packet)


class NotingEngine(Engine):
    """An engine that says who was too slow."""

    def __init__(
        self,
        server: EngineServer,
        clients: dict[str, Client],
        *,
        limit: int,
        spawn: Callable[..., None],
        pause: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            server,
            ping_interval_s=PING_INTERVAL_S,
            ping_timeout_s=PING_TIMEOUT_S,
            limit=limit,
            max_message=1000,
            on_slow=lambda: None,
            spawn=spawn,
            sleep=lambda _: eventlet.sleep(0),
        )
        self._clients = clients
        self.fanout = NotingFanout(clients, pause)
        self.wheel = Wheel(0.25, PING_INTERVAL_S, self._send_pings, clock=clock)

    def count_slow(self, sid: str) -> None:
        client = self._clients[sid]
        client.is_slow, client.gone = True, client.gone or client.crosses
