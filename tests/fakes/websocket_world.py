"""One websocket on a real socket, with its client, a clock and a reactor that turns when a test says so."""

import socket

from cloud_node.wire import frames
from cloud_node.wire.reactor import Reactor
from cloud_node.wire.websocket import Websocket
from cloud_node.wire.wheel import Wheel
from tests.fakes.wire import Clock, Peer, has_ended, take_all, until

LIMIT = 50_000
BIG = frames.encode(frames.TEXT, b"x" * 20_000)

BY_CLIENT = {"by_client": True, "error": False}
BROKEN = {"by_client": True, "error": True}
OUR_ERROR = {"by_client": False, "error": True}


class Owner:
    def __init__(self) -> None:
        self.told: list[object] = []
        self.websocket: Websocket | None = None

    def received(self, message: str | bytes) -> None:
        self.told.append(message)
        if message == "finish" and self.websocket is not None:
            self.websocket.finish(1000, "as you say")

    def lost(self, *, by_client: bool, error: bool) -> None:
        self.told.append({"by_client": by_client, "error": error})

    def overrun(self) -> None:
        self.told.append("overrun")


class World:
    def __init__(self, ends: tuple[socket.socket, socket.socket]) -> None:
        self.clock = Clock()
        self.reactor = Reactor()
        self.wheel = Wheel(0.25, 10, lambda: None, self.clock)
        self.owner = Owner()
        self.sock, client = ends
        self.peer = Peer(client)
        self.websocket = Websocket(self.sock, self.owner, self.reactor, self.wheel, limit=LIMIT, max_message=1000)
        self.owner.websocket = self.websocket

    def pass_s(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wheel.turn(lambda _s: None)

    def say(self, data: bytes) -> None:
        self.peer.sock.sendall(data)
        self.reactor.turn()

    def read_until(self, size: int) -> bytes:
        """Read so many bytes while the reactor writes what waits."""
        stream = bytearray()

        def read() -> bool:
            stream.extend(take_all(self.peer.sock))
            return len(stream) >= size

        until(read, self.reactor)
        return bytes(stream)

    def read_to_end(self) -> bytes:
        """Read all that comes before the node shuts its side, while the reactor writes what waits."""
        stream = bytearray()

        def read() -> bool:
            stream.extend(take_all(self.peer.sock))
            return has_ended(self.peer.sock)

        until(read, self.reactor)
        return bytes(stream)

    @property
    def is_gone(self) -> bool:
        """Nothing refers to it any more but who asks."""
        it = self.websocket
        return (self.sock.fileno(), len(self.reactor), it.owner, it.outbox, it.slot) == (-1, 0, None, None, -1)

    def close(self) -> None:
        """Close both ends."""
        self.sock.close()
        self.peer.sock.close()
