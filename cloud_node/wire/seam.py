"""The seam to python-socketio, python-engineio and eventlet: the only file that touches what they do not publish.

python-socketio stays the owner of its protocol: CONNECT, namespaces, events, acks.  What carries its packets is ours
(engine.py), and here it is put in the place of python-engineio's.  Refuses to decide anything that is not about these
libraries.

What is touched, each with a test in tests/unit/cloud_node/test_seam.py or test_seam_eventlet.py that says which
library changed:

- python-socketio: ``Server._engineio_server_class``, ``_handle_connect``, ``_handle_eio_connect``,
  ``_handle_eio_message``, ``_handle_eio_disconnect``, ``_handle_ack``, ``_trigger_event``, ``_binary_packet``,
  ``_send_packet``, ``environ``, ``handlers``, ``reason``; the methods of ``Manager`` that ``Sessions`` replaces, its
  ``rooms`` and ``callbacks``.
- python-engineio: ``Server.sockets``, ``handlers``, ``_trigger_event``, ``_cors_allowed_origins``, ``_cors_headers``,
  and of a socket: ``closed``, ``send``, ``close``, ``session``.
- eventlet: ``environ["eventlet.input"].get_socket()``, ``GreenSocket.fd``, ``wsgi.WSGI_LOCAL.already_handled``,
  ``wsgi.Server.process_request``, ``wsgi.HttpProtocol``, ``hubs.get_hub().add``.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import engineio
import socketio
import structlog
from eventlet import hubs, wsgi
from eventlet.greenio import GreenSocket
from socketio import packet

from cloud_node.wire.packets import Malformed

NAMESPACE = "/"
_SHOWN = 200
_NO_ENVIRON: dict[str, Any] = {}  # a request's environ would hold its socket and headers for as long as the session

log = structlog.get_logger()


def whenever_ready(fd: int, call: Callable[[int], None]) -> None:
    """Have eventlet's hub call *call(fd)* in its own greenlet whenever *fd* can be read, for as long as it runs."""
    hub = hubs.get_hub()
    hub.add(hub.READ, fd, call, lambda *_: None, None)


class EngineServer(engineio.Server):  # type: ignore[misc]
    """python-engineio's server with our transport: it keeps the handlers and CORS, *requests* answers HTTP."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.requests: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | None = None
        self.sio: SocketServer | None = None

    def handle_request(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one HTTP request."""
        assert self.requests is not None  # noqa: S101
        return self.requests(environ, start_response)

    def tell_connected(self, sid: str) -> None:
        """Tell python-socketio that a connection has opened."""
        self._trigger_event("connect", sid, _NO_ENVIRON, run_async=False)

    def tell_message(self, sid: str, data: str | bytes) -> None:
        """Give python-socketio a message; one that is malformed ends the connection."""
        self._trigger_event("message", sid, data, run_async=False)

    def tell_disconnected(self, sid: str, reason: str) -> None:
        """Tell python-socketio that a connection has ended."""
        self._trigger_event("disconnect", sid, reason, run_async=False)

    def is_joined(self, sid: str) -> bool:
        """Tell whether the connection has joined the namespace."""
        return self.sio is not None and self.sio.manager.sid_from_eio_sid(sid, NAMESPACE) is not None

    def allows_origin(self, environ: dict[str, Any]) -> bool:
        """Tell whether a web page of this request's origin may connect."""
        allowed = self._cors_allowed_origins(environ) if environ.get("HTTP_ORIGIN") else None
        return allowed is None or environ["HTTP_ORIGIN"] in allowed

    def cors_headers(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Give the headers that let a page of another origin read the answer."""
        return list(self._cors_headers(environ))

    def socket_of(self, environ: dict[str, Any]) -> socket.socket:
        """Give the request's socket, which stays eventlet's."""
        plain: socket.socket = environ["eventlet.input"].get_socket().fd
        return plain

    def take_socket(self, environ: dict[str, Any]) -> socket.socket:
        """Take the request's socket away from eventlet, which then ends its greenlet and frees the request."""
        plain = self.socket_of(environ)
        family, kind = plain.family, plain.type
        wsgi.WSGI_LOCAL.already_handled = True
        return socket.socket(family, kind, fileno=plain.detach())


class SocketServer(socketio.Server):  # type: ignore[misc]
    """python-socketio's server on our transport, stricter where it is lenient."""

    def __init__(self, **options: Any) -> None:
        super().__init__(client_manager=Sessions(), monitor_clients=False, **options)
        self.eio.sio = self
        self.on_answer: Callable[[str, int], None] = lambda _sid, _ack_id: None

    def _engineio_server_class(self) -> type[engineio.Server]:
        return EngineServer

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        if (namespace or NAMESPACE) not in self.handlers:
            message = "Invalid namespace"
        elif self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is not None:
            message = "Already connected"
        else:
            super()._handle_connect(eio_sid, namespace, data)
            return
        refusal = self.packet_class(packet.CONNECT_ERROR, data={"message": message}, namespace=namespace)
        self._send_packet(eio_sid, refusal)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        """Take one message; whoever sends what no Socket.IO client sends loses the connection."""
        try:
            if isinstance(data, str) == (eio_sid in self._binary_packet):
                raise Malformed("text where an attachment is due, or an attachment that nobody announced")
            if isinstance(data, str) and not data:
                raise Malformed("an empty message")
            if data[:1] != "0" and isinstance(data, str) and not self.eio.is_joined(eio_sid):
                raise Malformed("a packet before CONNECT, or after DISCONNECT")
            super()._handle_eio_message(eio_sid, data)
        except Malformed as flaw:
            log.info("malformed packet: closed", reason=str(flaw)[:_SHOWN])
            if (connection := self.eio.sockets.get(eio_sid)) is not None:
                connection.end(self.reason.TRANSPORT_ERROR, code=1002, said="malformed packet")

    def _handle_ack(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: ARG002
        """Take the answer to a push: what it says does not matter, nor whether python-socketio sent it."""
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE)
        if sid is not None and id is not None:
            self.on_answer(sid, id)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)
        self.manager.forget(eio_sid)

    def tell_gone(self, sid: str) -> None:
        """Tell the handler of disconnects of a session that python-socketio does not know any more."""
        self._trigger_event("disconnect", NAMESPACE, sid, self.reason.TRANSPORT_CLOSE)

    def connection_of(self, sid: str) -> Any:
        """Find the connection (connection.Connection) of a Socket.IO sid; None when it has ended."""
        return self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, NAMESPACE))


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's, which takes what is no HTTP for HTTP/0.9, answers it without a status, and prints it to stderr."""

    default_request_version = "HTTP/1.0"

    def log_message(self, format: str, *args: Any) -> None:
        """See http.server.BaseHTTPRequestHandler."""
        log.debug("HTTP", said=(format % args)[:_SHOWN])


class HttpServer:
    """eventlet's HTTP server for connections that somebody else accepts."""

    def __init__(self, listener: Any, app: Callable[..., Any], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._server = wsgi.Server(
            listener,
            listener.getsockname(),
            app,
            protocol=_Protocol,
            log_output=False,
            debug=False,
            socket_timeout=timeout_s,
        )

    def serve(self, sock: socket.socket, address: Any) -> None:
        """Answer the requests that come on *sock*, until it ends; a greenlet is kept by this."""
        green = GreenSocket(sock)
        green.settimeout(self._timeout_s)
        try:
            self._server.process_request([address, green, wsgi.STATE_IDLE])
        except OSError as error:
            log.debug("an HTTP connection failed", reason=repr(error))
        finally:
            green.close()
            if sock.fileno() >= 0:  # eventlet's file of it failed to close, and would keep it until it is collected
                os.close(sock.detach())


class Sessions(socketio.Manager):  # type: ignore[misc]
    """Who is connected to the one namespace: two dictionaries.

    python-socketio's own manager keeps a room for every session, and looks through all of them at each disconnect.
    Rooms are the hub's business here (cloud_node/hub.py); a sid is the only room there is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rooms: dict[str, Any] = {NAMESPACE: {}}  # else emit would take it that nobody is there
        self._eio: dict[str, str] = {}
        self._sids: dict[str, str] = {}
        self._on_the_way: set[str] = set()  # connecting or disconnecting

    def get_namespaces(self) -> list[str]:
        """See socketio.Manager, as for all that follow."""
        return [NAMESPACE]

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:  # noqa: ARG002, D102
        if eio_sid in self._sids:
            return None
        sid: str = self.server.eio.generate_id()
        self._eio[sid], self._sids[eio_sid] = eio_sid, sid
        self._on_the_way.add(sid)
        return sid

    def connect(self, sid: str, namespace: str) -> str:  # noqa: ARG002, D102
        self._on_the_way.discard(sid)
        if sid not in self._eio:
            # Its connection has failed while its CONNECT was answered: the handler of connects had let it in, but
            # whoever is on the way is not disconnected, so that nobody was told of the end.
            self.server.tell_gone(sid)
        return sid

    def is_connected(self, sid: str | None, namespace: str) -> bool:  # noqa: ARG002, D102
        return sid in self._eio and sid not in self._on_the_way

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:  # noqa: D102
        return self._sids.get(eio_sid) if namespace == NAMESPACE else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:  # noqa: ARG002, D102
        return self._eio.get(sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:  # noqa: ARG002, D102
        self._on_the_way.add(sid)
        return self._eio.get(sid)

    def disconnect(self, sid: str, namespace: str, **_: Any) -> None:  # noqa: ARG002, D102
        eio_sid = self._eio.pop(sid, None)
        if eio_sid is not None:
            self._sids.pop(eio_sid, None)
        self._on_the_way.discard(sid)
        self.callbacks.pop(sid, None)

    def forget(self, eio_sid: str) -> None:
        """Forget whoever used this connection, also one whose CONNECT was not answered yet."""
        if (sid := self._sids.get(eio_sid)) is not None:
            self.disconnect(sid, NAMESPACE)

    def get_participants(  # noqa: D102
        self,
        namespace: str,  # noqa: ARG002
        room: str | list[str] | None,
    ) -> Iterator[tuple[str, str]]:
        for sid in list(self._eio) if room is None else [room] if isinstance(room, str) else room:
            if sid in self._eio:
                yield sid, self._eio[sid]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:  # noqa: ARG002, D102
        return [sid]

    def basic_enter_room(self, *_: Any, **__: Any) -> None:  # noqa: D102
        raise NotImplementedError("rooms are the hub's")
