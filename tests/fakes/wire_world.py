"""The whole wire of a node in one process, without a kernel below and without Socket.IO above.

Real: engine, fan-out, connections, websockets, outboxes, upgrades, requests, wheel, selector.  Scripted: sockets and
the clock.  Whoever flushes parks in every pause until :meth:`World.goes_on`, and what a selector found ready is served
one by one, so everything else can happen in between.
"""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import engineio
import eventlet
from eventlet.event import Event

from cloud_node.wire.connection import Connection
from cloud_node.wire.reactor import READ, WRITE, Watched
from cloud_node.wire.recipients import Recipients
from cloud_node.wire.requests import Requests
from cloud_node.wire.websocket import Websocket
from tests.fakes.scripted_socket import ScriptedSocket
from tests.fakes.wire_client import KEY, WebsocketClient, environ_of
from tests.fakes.wire_model import Client, NotingEngine

ROOMY = 1 << 20
GROUPS = "ab"


class World:
    """What may happen, whatever else is under way."""

    def __init__(self, limit: int) -> None:
        self.now_s = 1000.0
        self.clients: dict[str, Client] = {}
        self.groups: dict[str, list[Connection]] = {name: [] for name in GROUPS}
        self._recipients: dict[str, Recipients] = {}
        self.parked: Event | None = None
        self.failures: list[Exception] = []
        self.websockets: list[Websocket] = []
        self.sockets: list[ScriptedSocket] = []
        self._selected: deque[tuple[Watched, int]] = deque()
        self._turning = False
        self._number = 0
        self.server = SimpleNamespace(
            sockets={},
            reason=engineio.Server.reason,
            generate_id=lambda: f"s{len(self.clients)}",
            tell_connected=self._connected,
            tell_message=self._heard,
            tell_disconnected=self._disconnected,
            is_joined=lambda _: True,
        )
        server: Any = self.server
        self.engine = NotingEngine(
            server, self.clients, limit=limit, spawn=self.spawn, pause=self.park, clock=lambda: self.now_s
        )
        http: Any = SimpleNamespace(
            allows_origin=lambda _: True,
            cors_headers=lambda _: [],
            take_socket=lambda environ: environ["test.socket"],
            socket_of=lambda environ: environ["test.socket"],
        )
        self._requests = Requests(self.engine, http)

    def _connected(self, sid: str) -> None:
        self.clients[sid] = Client(self.server.sockets[sid])

    def _heard(self, sid: str, message: str) -> None:
        client = self.clients[sid]
        client.heard.append(message)
        if message.startswith("wait"):
            eventlet.sleep(0)
        if not client.connection.closed:
            self.engine.fanout.send(client.connection, self.packet(3))

    def _disconnected(self, sid: str, reason: str) -> None:
        client = self.clients[sid]
        assert not client.reason, "ended twice"
        client.reason = reason
        for name in self.groups:
            self.leaves(client, name)

    # Greenlets.

    def spawn(self, run: Callable[..., object], *args: Any) -> None:
        """Run something in a greenlet of its own, soon."""

        def guarded() -> None:
            try:
                run(*args)
            except Exception as error:  # noqa: BLE001 - the test is told
                self.failures.append(error)

        eventlet.spawn_n(guarded)

    def run(self) -> None:
        """Let every greenlet that can go on do so, as far as its next wait."""
        eventlet.sleep(0)
        for failure in self.failures:
            raise failure

    def park(self) -> None:
        """Be the pause of whoever flushes."""
        assert self.parked is None, "two flushes at once"
        self.parked = Event()
        self.parked.wait()

    def goes_on(self) -> None:
        """Let the flush that is parked go on."""
        parked, self.parked = self.parked, None
        if parked is not None:
            parked.send(None)
        self.run()

    # How clients come and go.

    def connects(self, capacity: int) -> Client:
        """A client connects with a websocket."""
        sock = self._socket()
        connection = self.engine.open_websocket(sock, KEY)
        assert connection.websocket is not None
        self.websockets.append(connection.websocket)
        client = self.clients[connection.sid]
        client.websocket = WebsocketClient(sock)
        sock.capacity = capacity
        return client

    def connects_by_polling(self) -> Client:
        """A client connects by polling."""
        (body,) = self.request("GET", "")
        client = self.clients[f"s{len(self.clients) - 1}"]
        client.take([body])
        return client

    def joins(self, client: Client, name: str) -> None:
        """A client joins a group."""
        if client.connection not in self.groups[name] and not client.reason:
            self.groups[name].append(client.connection)
            self._recipients.pop(name, None)

    def leaves(self, client: Client, name: str) -> None:
        """A client leaves a group."""
        if client.connection in self.groups[name]:
            self.groups[name].remove(client.connection)
            self._recipients.pop(name, None)

    def drops(self, client: Client) -> None:
        """The node ends a connection, in good order."""
        if not client.reason:
            client.dropped, client.gone = True, client.gone or client.crosses
            client.connection.end(self.engine.reason.SERVER_DISCONNECT, code=1012, said="reconnect")

    def packet(self, size: int, *, binary: bool = False) -> bytes:
        """Make a packet that is like no other."""
        self._number += 1
        if binary:
            return b"b" + (b"%08d" % self._number * (size // 8 + 1)).hex().encode()
        return b'42["%d%s"]' % (self._number, b"." * size)

    def recipients(self, name: str) -> Recipients:
        """The same object until the group changes, as the hub gives it."""
        if name not in self._recipients:
            self._recipients[name] = Recipients(list(self.groups[name]))
        return self._recipients[name]

    def emits(self, name: str, size: int, *, binary: bool) -> None:
        """Something is emitted to a group; only up to the first pause, if it comes to one."""
        self.spawn(self.engine.fanout.emit, self.recipients(name), self.packet(size, binary=binary))
        self.run()

    def sends(self, client: Client, size: int, *, binary: bool) -> None:
        """Something is sent to one client."""
        self.engine.fanout.send(client.connection, self.packet(size, binary=binary))

    def batch(self, parts: list[tuple[str | int, int]]) -> None:
        """Much is emitted at once."""

        def run() -> None:
            writer, clients = self.engine.fanout, list(self.clients.values())
            writer.begin()
            for target, size in parts:
                if isinstance(target, str):
                    writer.emit(self.recipients(target), self.packet(size))
                else:
                    writer.send(clients[target % len(clients)].connection, self.packet(size))
            writer.flush()

        self.spawn(run)
        self.run()

    # What a node's own greenlets do.

    def serves(self) -> None:
        """The reactor serves the next of what was ready when it last looked, and looks again if that was all."""
        self._selected = self._selected or deque(self.ready())
        watched, events = self._selected.popleft() if self._selected else (None, 0)
        if watched is not None and events & READ:
            watched.readable()
        if watched is not None and events & WRITE:
            watched.writable()

    def ready(self) -> list[tuple[Watched, int]]:
        """What a selector would find ready."""
        ready = []
        for key in self.engine.reactor._selector.get_map().values():
            sock: ScriptedSocket = getattr(key.data, "sock", None) or key.data._sock
            events = key.events & ((READ if sock.is_readable else 0) | (WRITE if sock.is_writable else 0))
            if events:
                ready.append((key.data, events))
        return ready

    def passes(self, seconds: float) -> None:
        """Time passes, and what is due is told."""
        self.now_s += seconds
        for client in self.clients.values():
            client.expired = client.expired or client.reason != ""
        if not self._turning:
            self._turning = True
            self.spawn(self._turn)
        self.run()

    def _turn(self) -> None:
        try:
            self.engine.wheel.turn(lambda _: eventlet.sleep(0))
        finally:
            self._turning = False

    # What clients do.

    def polls(self, client: Client) -> None:
        """A client polls; two polls at once are its own fault."""
        client.gone = client.gone or bool(client.polls)
        sock = self._socket()
        client.polls.append(sock)
        self.spawn(self._poll, client, sock)
        self.run()

    def _poll(self, client: Client, sock: ScriptedSocket) -> None:
        answer = self.request("GET", client.connection.sid, sock=sock)
        client.polls.remove(sock)
        if answer[0][:1] == b"{":
            client.refused = True
        elif not client.gone:
            client.take(answer[0].split(b"\x1e"))

    def posts(self, client: Client, message: str) -> None:
        """A client that polls says something."""
        client.said.append(message)
        self.spawn(self.request, "POST", client.connection.sid, f"4{message}".encode())
        self.run()

    def upgrades(self, client: Client, capacity: int) -> None:
        """A client that polls opens a websocket."""
        sock = self._socket()
        answer = self.request("GET", client.connection.sid, sock=sock, websocket=True)
        upgrade = client.connection.upgrade
        if not answer and upgrade is not None and upgrade.websocket is not None:
            self.websockets.append(upgrade.websocket)
            client.trial, client.probed = WebsocketClient(sock), False
            sock.capacity = capacity

    def completes(self, client: Client) -> None:
        """A client that has seen its probe answered changes over, whether its poll was answered or not."""
        assert client.trial is not None
        client.websocket, client.trial = client.trial, None
        client.websocket.say("5")

    def _socket(self) -> ScriptedSocket:
        sock = ScriptedSocket()
        self.sockets.append(sock)
        return sock

    def request(
        self, method: str, sid: str, body: bytes = b"", *, sock: ScriptedSocket | None = None, websocket: bool = False
    ) -> list[bytes]:
        """Have a request answered; gives the body, nothing if it was an upgrade that was taken."""
        environ = environ_of(method, sid, body, websocket=websocket)
        return list(self._requests(environ | {"test.socket": sock or self._socket()}, lambda *_: None))

    @property
    def is_still(self) -> bool:
        """Whether nothing more happens by itself."""
        streams = [stream for each in self.clients.values() for stream in (each.websocket, each.trial)]
        return self.parked is None and not self.ready() and not any(each and each.sock.unread for each in streams)

    def close(self) -> None:
        """End all, whatever state it is in."""
        for client in self.clients.values():
            client.connection.end(self.engine.reason.TRANSPORT_ERROR)
        for _ in range(3):
            self.goes_on()
        for sock in self.sockets:
            sock.close()
        self.engine.reactor._selector.close()
