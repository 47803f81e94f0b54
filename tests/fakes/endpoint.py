"""An Engine.IO endpoint asked by hand: WSGI requests, without an HTTP server."""

import io
import json
import socket
from collections.abc import Callable
from typing import Any

import eventlet

from cloud_node.wire.connection import Connection
from cloud_node.wire.requests import Requests
from tests.fakes.rig import KEY, Rig
from tests.fakes.wire import WAIT_S

GET = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
UPGRADE = {
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
    "HTTP_HOST": "node",
}

UNKNOWN_TRANSPORT = ("400 Bad Request", 0, "Transport unknown")
UNKNOWN_SID = ("400 Bad Request", 1, "Session ID unknown")
BAD_METHOD = ("400 Bad Request", 2, "Bad handshake method")
BAD_REQUEST = ("400 Bad Request", 3, "Bad request")
FORBIDDEN = ("403 Forbidden", 4, "Forbidden")
BAD_VERSION = ("400 Bad Request", 5, "Unsupported protocol version")


class Http:
    """Stands in for the libraries: origins by a set, sockets by what a test puts in the environ."""

    def __init__(self) -> None:
        self.taken = 0

    def allows_origin(self, environ: dict[str, Any]) -> bool:
        return environ.get("HTTP_ORIGIN") in (None, "http://good")

    def cors_headers(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        return [("X-Cors", environ.get("HTTP_ORIGIN", "none"))]

    def take_socket(self, environ: dict[str, Any]) -> socket.socket:
        self.taken += 1
        sock: socket.socket = environ["socket"]
        return sock

    def socket_of(self, environ: dict[str, Any]) -> socket.socket:
        sock: socket.socket = environ["socket"]
        return sock


class Endpoint:
    def __init__(self) -> None:
        self.rig = Rig()
        self.http = Http()
        self.requests = Requests(self.rig.engine, self.http)
        self.status = ""
        self.headers: dict[str, str] = {}

    def ask(self, query: str, method: str = "GET", body: Any = b"", **environ: Any) -> bytes:
        whole = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
            "CONTENT_LENGTH": str(len(body)) if isinstance(body, bytes) else "9",
            **environ,
        }
        if "socket" not in whole:
            whole["socket"] = self.rig.pair()[0]
        self.status, self.headers = "", {}
        with eventlet.Timeout(WAIT_S):
            return b"".join(self.requests(whole, self._start))

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, dict(headers)

    def polling(self) -> Connection:
        return self.rig.polling()

    def poll(self, connection: Connection, **environ: Any) -> bytes:
        return self.ask(f"{GET}&sid={connection.sid}", **environ)

    def post(self, connection: Connection, body: Any, **environ: Any) -> bytes:
        return self.ask(f"{GET}&sid={connection.sid}", "POST", body, **environ)

    def begin(self, run: Callable[..., bytes], *args: Any, **environ: Any) -> Any:
        request = eventlet.spawn(run, *args, **environ)
        eventlet.sleep(0)
        return request

    def refusal(self, answer: bytes) -> tuple[str, int, str]:
        said = json.loads(answer)
        assert said.keys() == {"code", "message"}
        assert self.headers["Content-Type"] == "application/json"
        return self.status, said["code"], said["message"]


def end_of(request: Any) -> bytes:
    with eventlet.Timeout(WAIT_S):
        answer: bytes = request.wait()
    return answer
