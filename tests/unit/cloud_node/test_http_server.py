"""What eventlet's HTTP server leaves undone on a connection that breaks, or never was HTTP; found by fuzzing a node."""

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloud_node.wire.seam import HttpServer

Serve = Callable[[bytes], socket.socket]


def _app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a connection whose client says something and resets it; gives the server's socket after that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run(said: bytes) -> socket.socket:
            client = socket.create_connection(listener.getsockname())
            client.sendall(said)
            sock, address = listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            HttpServer(listener, _app, 5).serve(sock, address)
            return sock

        yield run


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\x81\x86no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"]
)
def test_a_connection_that_breaks_keeps_no_file_descriptor(serve: Serve, said: bytes) -> None:
    assert serve(said).fileno() < 0


def test_what_is_no_http_is_not_written_to_the_log_as_it_came(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"no HTTP at all\r\n\r\n")
        sock, address = listener.accept()
        HttpServer(listener, _app, 5).serve(sock, address)
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
        client.close()
    assert "no HTTP at all" not in capfd.readouterr().err
