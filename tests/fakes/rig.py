"""An engine whose clock, timers, sockets and greenlets a test drives: it moves only when a test says so."""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import engineio
import eventlet

from cloud_node.wire.connection import Connection
from cloud_node.wire.engine import Engine, EngineServer
from tests.fakes.wire import WAIT_S, Clock, Peer, is_readable, tcp_pair

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Server:
    """Stands in for python-socketio and python-engineio: keeps what it is told, in order."""

    reason = engineio.Server.reason

    def __init__(self) -> None:
        self.sockets: MutableMapping[str, Any] = {}
        self.told: list[tuple[str, str, Any]] = []
        self.joined = True
        self.on_message: Callable[[str, str | bytes], None] = lambda _sid, _data: None
        self._ids = 0

    def generate_id(self) -> str:
        self._ids += 1
        return f"sid{self._ids}"

    def tell_connected(self, sid: str) -> None:
        self.told.append(("connected", sid, None))

    def tell_message(self, sid: str, data: str | bytes) -> None:
        self.told.append(("message", sid, data))
        self.on_message(sid, data)

    def tell_disconnected(self, sid: str, reason: str) -> None:
        self.told.append(("disconnected", sid, reason))

    def is_joined(self, _sid: str) -> bool:
        return self.joined

    @property
    def messages(self) -> list[str | bytes]:
        return [data for what, _, data in self.told if what == "message"]

    @property
    def reasons(self) -> list[str]:
        return [data for what, _, data in self.told if what == "disconnected"]


class Rig:
    """An engine whose clock, timers, sockets and greenlets a test drives."""

    def __init__(
        self, engine_server: EngineServer | None = None, *, limit: int = 100_000, max_message: int = 10_000
    ) -> None:
        self.clock = Clock()
        self.server = Server()  # of no use when another is given
        self.slow = 0
        self._jobs: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._held = False
        self._sockets: list[socket.socket] = []
        self.engine = Engine(
            engine_server or self.server,
            ping_interval_s=25,
            ping_timeout_s=20,
            limit=limit,
            max_message=max_message,
            on_slow=self._count_slow,
            spawn=lambda run, *args: self._jobs.append((run, args)),
            sleep=lambda _s: None,
            clock=self.clock,
        )

    def _count_slow(self) -> None:
        self.slow += 1

    @contextlib.contextmanager
    def held_handlers(self) -> Iterator[None]:
        """Have what is spawned inside wait until the end."""
        self._held = True
        yield
        self._held = False
        self.run_jobs()

    def turn(self) -> None:
        """Serve the sockets that are ready, then whoever was spawned."""
        self.engine.reactor.turn()
        self.run_jobs()

    def run_jobs(self) -> None:
        """Run whoever was spawned."""
        while self._jobs and not self._held:
            run, args = self._jobs.popleft()
            run(*args)

    def until(self, condition: Callable[[], object]) -> None:
        """Turn until *condition* holds."""
        ends = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < ends, "it did not come true"
            is_readable(self.engine.reactor._selector, 1)
            self.turn()

    def pass_s(self, seconds: float) -> None:
        """Let time go by, in small steps."""
        ends = self.clock.now + seconds
        while self.clock.now < ends:
            self.clock.now = min(ends, self.clock.now + 0.25)
            self.engine.wheel.turn(lambda _s: None)
            self.turn()

    def close(self) -> None:
        """Close all sockets, of both ends."""
        for sock in self._sockets:
            sock.close()

    def hang_up(self) -> None:
        """Close the clients' ends."""
        for sock in self._sockets[1::2]:
            sock.close()

    def websocket(self) -> tuple[Connection, Peer]:
        """Open a connection on a websocket; its client has read the handshake."""
        server, client = self.pair()
        connection = self.engine.open_websocket(server, KEY)
        self.read_head(client)
        peer = Peer(client)
        assert [text[0] for text in peer.texts] == ["0"]
        return connection, peer

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Give the two ends of a connection, closed with the rig."""
        ends = tcp_pair()
        self._sockets += ends
        return ends

    def read_head(self, client: socket.socket) -> bytes:
        """Read the HTTP answer to an upgrade, up to its end."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.recv(1)
            assert byte, head
            head += byte
        return head

    def polling(self) -> Connection:
        """Open a connection that polls and has fetched its handshake."""
        connection = self.engine.open_polling()
        connection.poll()
        return connection

    def upgrading(self, connection: Connection) -> Peer:
        """Open a websocket that may take over from polling."""
        server, client = self.pair()
        self.engine.open_upgrade(connection, server, KEY)
        self.read_head(client)
        return Peer(client)


def begin_poll(connection: Connection) -> Any:
    """Begin a poll in a greenlet of its own."""
    poll = eventlet.spawn(connection.poll)
    eventlet.sleep(0)
    return poll


def answer_of(poll: Any) -> list[bytes]:
    """Wait for what a poll gets."""
    with eventlet.Timeout(WAIT_S):
        packets: list[bytes] = poll.wait()
    return packets
