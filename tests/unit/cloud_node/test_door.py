"""The door: plain handshakes are answered here, everything else goes on untouched, and nothing waits without bound."""

import errno
import socket
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest

from cloud_node.wire.door import Door
from cloud_node.wire.handshake import Upgrade
from tests.fakes.client_frames import frame
from tests.fakes.rig import KEY, Rig
from tests.fakes.wire import WAIT_S, Peer, has_ended, is_readable, reset

_PLAIN = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()


class _Http:
    """Keeps the sockets that it is given until a test lets them go."""

    def __init__(self) -> None:
        self.given: list[tuple[socket.socket, Any]] = []
        self.over = eventlet.event.Event()

    def serve(self, sock: socket.socket, address: Any) -> None:
        self.given.append((sock, address))
        self.over.wait()


class _Listener:
    """A listening socket, whose accept may be made to fail."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.errors: list[OSError] = []

    def accept(self) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _World:
    def __init__(self, most: int) -> None:
        self.rig = Rig()
        self.http = _Http()
        self.admits = True
        self.asked: list[Upgrade] = []
        self.listener = _Listener(socket.create_server(("127.0.0.1", 0)))
        self.listener.setblocking(False)
        self.door = Door(self.listener, self.rig.engine, self.http, self._admits, "/socket.io/", most)  # type: ignore[arg-type]
        self.clients: list[socket.socket] = []

    def _admits(self, upgrade: Upgrade) -> bool:
        self.asked.append(upgrade)
        return self.admits

    def client(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listener.getsockname(), WAIT_S)
        self.clients.append(client)
        if data:
            client.sendall(data)
        return client

    def arrivals(self) -> int:
        """How many connections have come and said nothing yet."""
        return len(self.rig.engine.reactor) - 1

    def given(self, count: int) -> list[tuple[socket.socket, Any]]:
        """Wait until so many connections were handed on."""

        def handed() -> bool:
            eventlet.sleep(0)
            return len(self.http.given) >= count

        self.rig.until(handed)
        return self.http.given

    def close(self) -> None:
        self.http.over.send(True)
        eventlet.sleep(0)
        self.listener.close()
        self.rig.close()
        for sock in [*self.clients, *(sock for sock, _ in self.http.given)]:
            sock.close()


@pytest.fixture
def world() -> Iterator[_World]:
    world = _World(most=3)
    yield world
    world.close()


def test_a_plain_handshake_is_answered_here_without_a_greenlet(world: _World) -> None:
    client = world.client(_PLAIN)
    world.rig.until(lambda: world.rig.engine.connections)
    assert world.rig.read_head(client).startswith(b"HTTP/1.1 101")
    assert [text[0] for text in Peer(client).texts] == ["0"]
    assert world.http.given == []
    assert [upgrade.path for upgrade in world.asked] == ["/socket.io/"]


def test_what_follows_a_handshake_at_once_is_not_lost(world: _World) -> None:
    world.client(_PLAIN + frame(1, b"4hello"))
    world.rig.until(lambda: world.rig.server.messages)
    assert world.rig.server.messages == ["hello"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health/live HTTP/1.1\r\nHost: n\r\n\r\n",
        b"G",
        _PLAIN.replace(b"EIO=4", b"EIO=3"),
        _PLAIN.replace(b"websocket HTTP", b"polling HTTP"),
        _PLAIN.replace(b"&transport=websocket", b""),
        _PLAIN.replace(b" HTTP/1.1", b"&sid=x HTTP/1.1", 1),
        _PLAIN.replace(b"/socket.io/", b"/other/"),
        _PLAIN.replace(b"Version: 13", b"Version: 8"),
        b"\0\xff" * 10,
        b"x" * 10_000,
    ],
)
def test_everything_else_is_handed_on_untouched(world: _World, data: bytes) -> None:
    client = world.client(data)
    ((sock, address),) = world.given(1)
    assert address == client.getsockname()
    assert sock.recv(len(data)) == data
    assert not world.rig.engine.connections
    assert len(world.rig.engine.reactor) == 1, "but the listener"


def test_a_handshake_that_something_speaks_against_is_handed_on_untouched(world: _World) -> None:
    world.admits = False
    world.client(_PLAIN)
    ((sock, _),) = world.given(1)
    assert sock.recv(len(_PLAIN)) == _PLAIN
    assert not world.rig.engine.connections


def test_a_connection_that_says_nothing_is_closed_after_a_while_and_not_before(world: _World) -> None:
    client = world.client()
    world.rig.until(lambda: world.arrivals() == 1)
    world.rig.pass_s(9.5)
    assert not has_ended(client)
    world.rig.pass_s(1)
    assert has_ended(client)
    assert world.arrivals() == 0
    assert not any(world.rig.engine.wheel._slots)


def test_a_connection_that_speaks_in_time_has_no_deadline_any_more(world: _World) -> None:
    client = world.client()
    world.rig.until(lambda: world.arrivals() == 1)
    world.rig.pass_s(9)
    client.sendall(b"G")
    world.given(1)
    world.rig.pass_s(20)
    assert not has_ended(client)


@pytest.mark.parametrize("go", [socket.socket.close, reset])
def test_a_connection_that_goes_before_it_speaks_leaves_nothing(world: _World, go: Any) -> None:
    client = world.client()
    world.rig.until(lambda: world.arrivals() == 1)
    go(client)
    world.rig.until(lambda: world.arrivals() == 0)
    assert world.http.given == []
    assert not any(world.rig.engine.wheel._slots)


def test_with_every_greenlet_taken_a_request_gets_503_and_a_plain_handshake_still_works(world: _World) -> None:
    for _ in range(3):
        world.client(b"GET / HTTP/1.1\r\n\r\n")
    world.given(3)
    client = world.client(b"GET / HTTP/1.1\r\n\r\n")
    world.rig.until(lambda: is_readable(client))
    answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer
    world.client(_PLAIN)
    world.rig.until(lambda: world.rig.engine.connections)
    world.http.over.send(True)
    eventlet.sleep(0)
    world.http.over = eventlet.event.Event()
    world.client(b"GET / HTTP/1.1\r\n\r\n")
    world.given(4)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_a_descriptor_left_it_rests_and_then_accepts_again(world: _World, number: int) -> None:
    world.listener.errors = [OSError(number, "no more")]
    world.client(b"G")
    world.rig.until(lambda: not world.listener.errors)
    for _ in range(3):
        world.rig.turn()
    assert len(world.rig.engine.reactor) == 0, "else it would spin"
    world.rig.pass_s(1.5)
    world.given(1)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.ENETDOWN, errno.EPERM])
def test_a_connection_that_fails_while_it_is_accepted_costs_the_others_nothing(world: _World, number: int) -> None:
    world.listener.errors = [OSError(number, "gone")]
    world.client(b"G")
    world.given(1)


def test_it_accepts_many_at_once(world: _World) -> None:
    for _ in range(30):
        world.client()
    world.rig.until(lambda: world.arrivals() == 30)


def test_closed_it_accepts_no_more(world: _World) -> None:
    address = world.listener.getsockname()
    world.door.close()
    assert len(world.rig.engine.reactor) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, WAIT_S)


def test_closed_while_it_rests_it_accepts_no_more(world: _World) -> None:
    world.listener.errors = [OSError(errno.EMFILE, "no more")]
    world.client()
    world.rig.until(lambda: not world.listener.errors)
    world.door.close()
    world.rig.pass_s(2)
    assert len(world.rig.engine.reactor) == 0
