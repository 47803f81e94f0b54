"""Engine.IO over HTTP: handshakes, polls, posts and upgrades, as WSGI requests.

Stricter than python-engineio, whose place it takes: every refusal is the reference server's, status and body
(``{"code": 1, "message": "Session ID unknown"}``); a body is read whole before any of it counts; requests that overlap
end their session.  Refuses to touch sockets (engine.py does).

Source: the Engine.IO protocol, revision 4 (github.com/socketio/engine.io-protocol).
"""

import gzip
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson
import structlog

from cloud_node.wire import handshake
from cloud_node.wire.connection import Connection, Overlap
from cloud_node.wire.engine import Engine
from cloud_node.wire.payload import Malformed, decode, encode
from cloud_node.wire.reactor import NOTHING, READ

StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]

UNKNOWN_TRANSPORT, UNKNOWN_SID, BAD_METHOD, BAD_REQUEST, FORBIDDEN, BAD_VERSION = range(6)
_MESSAGES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)
_TEXT = ("Content-Type", "text/plain; charset=UTF-8")
_JSON = ("Content-Type", "application/json")
_COMPRESS_FROM = 1024  # bytes
_LENGTH_DIGITS = 18  # of a Content-Length; Python refuses to read thousands

log = structlog.get_logger()


class Refusal(Exception):
    """A request that is answered with one of the protocol's errors."""

    def __init__(self, code: int, status: str = "400 Bad Request") -> None:
        super().__init__(_MESSAGES[code])
        self.code = code
        self.status = status


class Http(Protocol):
    """What is needed of the libraries to speak HTTP; see seam.py."""

    def allows_origin(self, environ: dict[str, Any]) -> bool: ...  # noqa: D102
    def cors_headers(self, environ: dict[str, Any]) -> Headers: ...  # noqa: D102
    def take_socket(self, environ: dict[str, Any]) -> socket.socket: ...  # noqa: D102
    def socket_of(self, environ: dict[str, Any]) -> socket.socket: ...  # noqa: D102


class Requests:
    """A WSGI application: one Engine.IO endpoint."""

    def __init__(self, engine: Engine, http: Http) -> None:
        self._engine = engine
        self._http = http
        self._posting: set[str] = set()  # sids

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        headers: Headers = []
        try:
            if not self._http.allows_origin(environ):
                raise Refusal(FORBIDDEN, "403 Forbidden")
            answer = self._answer(environ)
            if answer is None:
                return []  # the socket is a websocket now
            status, headers, body = answer
        except Refusal as refusal:
            log.info("refused a request", code=refusal.code, reason=str(refusal))
            status, headers = refusal.status, [_JSON]
            body = orjson.dumps({"code": refusal.code, "message": str(refusal)})
        if len(body) >= _COMPRESS_FROM and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, 1)
            headers = [*headers, ("Content-Encoding", "gzip")]
        start_response(status, [*headers, ("Cache-Control", "no-store"), *self._http.cors_headers(environ)])
        return [body]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, Headers, bytes] | None:
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return "200 OK", [_TEXT], b""
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        connection = self._check(environ, query)
        websocket = query["transport"] == "websocket"
        if connection is None:
            return self._open(environ, websocket=websocket)
        if websocket:
            return self._upgrade(environ, connection)
        return self._poll(environ, connection) if method == "GET" else self._post(environ, connection)

    def _check(self, environ: dict[str, Any], query: dict[str, str]) -> Connection | None:
        """Find the connection that a request is for, None for a new one; raises Refusal, in the reference's order."""
        method, transport = environ["REQUEST_METHOD"], query.get("transport")
        if transport not in ("polling", "websocket"):
            raise Refusal(UNKNOWN_TRANSPORT)
        connection = None
        if "sid" in query and (connection := self._engine.find(query["sid"])) is None:
            raise Refusal(UNKNOWN_SID)
        if connection is None and method != "GET":
            raise Refusal(BAD_METHOD)
        if query.get("EIO") != "4":
            raise Refusal(BAD_VERSION)
        upgrades = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        if (transport == "websocket") != upgrades or method not in ("GET", "GET" if upgrades else "POST"):
            raise Refusal(BAD_REQUEST)
        if connection is not None and connection.websocket is not None:
            raise Refusal(BAD_REQUEST)
        return connection

    def _open(self, environ: dict[str, Any], *, websocket: bool) -> tuple[str, Headers, bytes] | None:
        if not websocket:
            return "200 OK", [_TEXT], encode(self._engine.open_polling().poll())
        if (flaw := handshake.flaw(environ)) is not None:
            return flaw
        self._engine.open_websocket(self._http.take_socket(environ), environ["HTTP_SEC_WEBSOCKET_KEY"])
        return None

    def _upgrade(self, environ: dict[str, Any], connection: Connection) -> tuple[str, Headers, bytes] | None:
        if connection.closed or connection.upgrade is not None:
            raise Refusal(BAD_REQUEST)
        if (flaw := handshake.flaw(environ)) is not None:
            return flaw
        self._engine.open_upgrade(connection, self._http.take_socket(environ), environ["HTTP_SEC_WEBSOCKET_KEY"])
        return None

    def _poll(self, environ: dict[str, Any], connection: Connection) -> tuple[str, Headers, bytes]:
        watch = _Gone(connection, self._engine, self._http.socket_of(environ))
        try:
            packets = connection.poll()
        except Overlap:
            log.info("two polls at once: closed")
            connection.end(self._engine.reason.TRANSPORT_ERROR)
            raise Refusal(BAD_REQUEST) from None
        finally:
            watch.stop()
        if connection.closed:
            self._engine.has_left(connection)
        return "200 OK", [_TEXT], encode(packets)

    def _post(self, environ: dict[str, Any], connection: Connection) -> tuple[str, Headers, bytes]:
        try:
            if connection.closed or connection.sid in self._posting:
                raise Malformed("two posts at once")
            self._posting.add(connection.sid)
            try:
                packets = decode(self._body(environ))
                if connection.closed or connection.websocket is not None:
                    raise Refusal(BAD_REQUEST)  # it came too late: while its body was read, others could run
                connection.received_all(packets)
            finally:
                self._posting.discard(connection.sid)
        except Malformed as flaw:
            log.info("malformed post: closed", reason=str(flaw))
            connection.end(self._engine.reason.TRANSPORT_ERROR)
            raise Refusal(BAD_REQUEST, flaw.status) from None
        return "200 OK", [("Content-Type", "text/html")], b"ok"

    def _body(self, environ: dict[str, Any]) -> bytes:
        """Read the body; raises Malformed for one that is too long, unread if it says so."""
        most = self._engine.max_message
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            raise Malformed("a length that is no number")
        if len(length) <= _LENGTH_DIGITS and int(length) <= most:
            try:
                body: bytes = environ["wsgi.input"].read(most + 1)
            except ValueError as error:  # a chunk without its size
                raise Malformed(f"not readable: {error}") from None
            if len(body) <= most:
                return body
        raise Malformed(f"more than {most} bytes", "413 Content Too Large")


class _Gone:
    """Watches the client of a poll that waits: if it goes, its session ends, since what it would get is lost."""

    def __init__(self, connection: Connection, engine: Engine, sock: socket.socket) -> None:
        self._connection = connection
        self._engine = engine
        self._sock = sock
        self._watching = connection.would_wait
        if self._watching:
            engine.reactor.wait_for(sock.fileno(), READ, self, before=NOTHING)

    def readable(self) -> None:
        """Something came during the poll: the end, or a next request that can wait."""
        self.stop()
        try:
            ended = not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            log.info("a poll was given up: closed")
            self._connection.end(self._engine.reason.TRANSPORT_CLOSE)

    writable = readable

    def stop(self) -> None:
        """Watch no more."""
        if self._watching:
            self._watching = False
            self._engine.reactor.wait_for(self._sock.fileno(), NOTHING, self, before=READ)
