"""What eventlet does not publish and seam.py touches: is it still there?"""

import inspect
import socket
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from eventlet import wsgi
from eventlet.greenio import GreenSocket

from tests.fakes.changed import named

_EVENTLET = f"eventlet {version('eventlet')} changed"


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.fixture
def request_of() -> Iterator[Any]:
    """Serves one request by eventlet; gives its environ as the application saw it, and the client's end."""
    ends: list[socket.socket] = []

    def serve(app: Any) -> socket.socket:
        listener, (ours, theirs) = socket.create_server(("127.0.0.1", 0)), socket.socketpair()
        ends.extend((listener, ours, theirs))
        server = wsgi.Server(listener, listener.getsockname(), app, log_output=False, debug=False)
        theirs.sendall(b"GET /x HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        theirs.settimeout(5)
        server.process_request([("127.0.0.1", 1), GreenSocket(ours), wsgi.STATE_IDLE])
        return theirs

    yield serve
    for each in ends:
        each.close()


@named(_EVENTLET)
def test_eventlet_serves_one_connection_that_somebody_else_accepted(request_of: Any) -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"hello"]

    assert _parameters(wsgi.Server.process_request) == ["self", "conn_state"], f"{_EVENTLET}: process_request"
    answer = request_of(app).recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), f"{_EVENTLET}: process_request"
    assert answer.endswith(b"hello"), f"{_EVENTLET}: process_request"


@named(_EVENTLET)
def test_eventlet_gives_a_requests_socket(request_of: Any) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        green = environ["eventlet.input"].get_socket()
        seen.extend((type(green), type(green.fd), green.fd.fileno() == green.fileno()))
        start_response("200 OK", [])
        return []

    request_of(app)
    assert seen == [GreenSocket, socket.socket, True], f"{_EVENTLET}: eventlet.input, get_socket, GreenSocket.fd"


@named(_EVENTLET)
def test_eventlet_says_nothing_about_a_request_that_is_handled_already(request_of: Any) -> None:
    def app(environ: Any, _start_response: Any) -> list[bytes]:
        wsgi.WSGI_LOCAL.already_handled = True
        environ["eventlet.input"].get_socket().fd.send(b"mine")
        return []

    client = request_of(app)
    assert client.recv(65536) == b"mine", f"{_EVENTLET}: WSGI_LOCAL.already_handled"
    assert client.recv(65536) == b"", f"{_EVENTLET}: WSGI_LOCAL.already_handled"
