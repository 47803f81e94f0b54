"""eventlet's HTTP server behind the seam: who may connect, and a socket that changes its owner."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest

from cloud_node.wire.seam import HttpServer
from tests.fakes.rig import KEY
from tests.fakes.stack import Stack, stack
from tests.fakes.wire import WAIT_S, Peer, has_ended, reset, tcp_pair


@pytest.fixture
def node() -> Iterator[Stack]:
    with stack() as it:
        yield it


class _Service:
    """An HTTP server for connections that a test accepted; its greenlets run while a test waits."""

    def __init__(self, app: Any, timeout_s: float = WAIT_S) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.http = HttpServer(self.listener, app, timeout_s)
        self.ends: list[socket.socket] = [self.listener]

    def begin(self, data: bytes) -> tuple[socket.socket, Any]:
        """Say something; gives the client's end, and the greenlet that serves it."""
        server, client = tcp_pair()
        self.ends += [server, client]
        client.sendall(data)
        greenlet = eventlet.spawn(self.http.serve, server, ("127.0.0.1", 1))
        eventlet.sleep(0)
        return client, greenlet

    def wait(self, greenlet: Any) -> None:
        with eventlet.Timeout(WAIT_S):
            greenlet.wait()


@pytest.fixture
def serve() -> Iterator[Any]:
    services: list[_Service] = []

    def make(app: Any, timeout_s: float = WAIT_S) -> _Service:
        services.append(_Service(app, timeout_s))
        return services[-1]

    yield make
    for service in services:
        for sock in service.ends:
            sock.close()


def _hello(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def test_requests_are_answered_until_the_client_closes(serve: Any) -> None:
    service = serve(_hello)
    client, greenlet = service.begin(b"GET /a HTTP/1.1\r\nHost: n\r\n\r\nGET /b HTTP/1.1\r\nHost: n\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    service.wait(greenlet)
    answer = client.recv(65536)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert has_ended(client)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: n\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: n\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_whatever_comes_the_connection_ends_and_its_greenlet_without_an_error(serve: Any, data: bytes) -> None:
    service = serve(_hello)
    client, greenlet = service.begin(data)
    with contextlib.suppress(OSError):  # it may have been closed already
        client.shutdown(socket.SHUT_WR)
    service.wait(greenlet)
    with contextlib.suppress(ConnectionResetError):
        while client.recv(65536):
            pass


def test_a_client_that_resets_ends_its_greenlet_without_an_error(serve: Any) -> None:
    service = serve(_hello)
    client, greenlet = service.begin(b"GET / HT")
    reset(client)
    service.wait(greenlet)


def test_a_client_that_says_too_little_is_closed_after_the_timeout(serve: Any) -> None:
    service = serve(_hello, timeout_s=0.01)
    client, greenlet = service.begin(b"GET / HT")
    service.wait(greenlet)
    assert has_ended(client)


def test_a_socket_that_is_taken_lives_on_after_its_request_and_eventlet_forgets_it(node: Stack, serve: Any) -> None:
    taken: list[socket.socket] = []

    def app(environ: Any, _start_response: Any) -> list[bytes]:
        assert node.sio.eio.socket_of(environ).fileno() >= 0
        taken.append(node.sio.eio.take_socket(environ))
        return []

    service = serve(app)
    client, greenlet = service.begin(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
    service.wait(greenlet)
    (ours,) = taken
    assert type(ours) is socket.socket
    assert not has_ended(client)
    ours.sendall(b"mine")
    assert client.recv(100) == b"mine", "nothing was written before it"
    assert not eventlet.hubs.get_hub().listeners["read"].get(ours.fileno())
    ours.close()
    assert has_ended(client)


def test_a_websocket_opens_through_http_and_what_follows_it_is_not_lost(node: Stack, serve: Any) -> None:
    service = serve(node.sio.eio.handle_request)
    client, greenlet = service.begin(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\n"
        b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        + KEY.encode()
        + b"\r\n\r\n"
    )
    service.wait(greenlet)
    assert node.rig.read_head(client).startswith(b"HTTP/1.1 101")
    peer = Peer(client)
    assert peer.texts[0][0] == "0"
    (answer,) = node.ask(peer, "40")
    assert answer.startswith('40{"sid"')
    for connection in list(node.engine.connections.values()):
        connection.end("x")


@pytest.mark.parametrize(
    ("origin", "allowed"), [(None, True), ("", True), ("http://good", True), ("http://evil", False), ("null", False)]
)
def test_an_origin_is_allowed_as_python_engineio_says_and_who_has_none_may_connect(
    node: Stack, origin: str | None, allowed: bool
) -> None:
    environ = {"wsgi.url_scheme": "http", "HTTP_HOST": "node", **({} if origin is None else {"HTTP_ORIGIN": origin})}
    assert node.sio.eio.allows_origin(environ) == allowed


def test_any_origin_is_allowed_when_none_is_forbidden(node: Stack) -> None:
    node.sio.eio.cors_allowed_origins = "*"
    assert node.sio.eio.allows_origin({"wsgi.url_scheme": "http", "HTTP_HOST": "n", "HTTP_ORIGIN": "http://any"})


def test_the_headers_of_cross_origin_requests_are_python_engineios(node: Stack) -> None:
    headers = dict(node.sio.eio.cors_headers({"HTTP_ORIGIN": "http://good", "REQUEST_METHOD": "GET"}))
    assert headers["Access-Control-Allow-Origin"] == "http://good"
