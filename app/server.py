"""The HTTP server: waitress on one socket, with our error bodies, and an end that breaks no request off.

Why waitress: docs/adr/0002.  It hands a request to a thread only once all of it has arrived, so slow clients hold no
threads.  Refuses to know what is served.
"""

import resource
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import waitress.server
from waitress import wasyncore
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask

from app.answers import speaks_im
from app.loop import Channel, Dispatcher, Sorting
from app.problems import Problem
from app.settings import WebSettings

_BACKLOG = 1024
_MAX_HEADER_BYTES = 32_768
_MAX_CONNECTIONS = 2000
_OTHER_FILES = 128
_IDLE_S = 75
_TURN_S = 0.05


class _ProblemTask(ErrorTask):  # type: ignore[misc]
    """What waitress answers itself (a malformed or too large request), as problem+json instead of text."""

    def execute(self) -> None:
        error = self.request.error
        # waitress answers 501 to a transfer coding that it does not know; the fault is the caller's.
        code = 400 if error.code == HTTPStatus.NOT_IMPLEMENTED else error.code
        problem = Problem(code, "", HTTPStatus(code).phrase, f"{error.body}".strip() or error.reason)
        response = problem.response(im=speaks_im(getattr(self.request, "path", "")))
        body = response.get_data()
        self.status = f"{code} {HTTPStatus(code).phrase}"
        self.response_headers.append(("Content-Type", response.content_type))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # of urlsplit, on an address like http://[/: waitress would just hang up
            raise ParsingError("The request target is malformed") from error


class _Channel(Channel):
    error_task_class = _ProblemTask
    parser_class = _Parser

    def idle(self) -> bool:
        """Tell whether nothing is being received, served or sent."""
        return not self.requests and self.request is None and not self.total_outbufs_len


class CannotListen(Exception):
    """The address is not ours, or taken."""


class Server:
    """Listens from the moment it is made; serves in :meth:`run` until :meth:`stop`.

    *sorting* tells which requests *app* may serve on this thread (app/turn.py).
    """

    def __init__(
        self,
        app: Callable[..., Any],
        settings: WebSettings,
        sorting: Sorting | None = None,
    ) -> None:
        self._shutdown_s = settings.shutdown_s
        self._stopping = False
        self._map: dict[int, Any] = {}
        self._dispatcher = Dispatcher(app, sorting or Sorting(), self._wake, deadline_s=settings.confirm_deadline_s)
        self._dispatcher.set_thread_count(settings.web_threads)
        self._server = waitress.server.create_server(
            app,
            map=self._map,
            _dispatcher=self._dispatcher,
            sockets=[_listening(settings.web_host, settings.web_port)],
            threads=settings.web_threads,
            backlog=_BACKLOG,
            connection_limit=_connection_limit(),
            channel_timeout=_IDLE_S,
            max_request_header_size=_MAX_HEADER_BYTES,
            # waitress counts what frames the chunks, too; the exact limit is app/body.py's.
            max_request_body_size=2 * max(settings.max_body_bytes, settings.max_batch_bytes) + _MAX_HEADER_BYTES,
            clear_untrusted_proxy_headers=False,  # nothing here reads them, and each request would pay
            ident=None,
        )
        self._server.channel_class = _Channel
        self._server.pull_trigger = self._wake
        self._thread = threading.get_ident()

    @property
    def port(self) -> int:
        """The port in use, where 0 was asked for."""
        return int(self._server.effective_port)

    @property
    def held(self) -> int:
        """How many answers are kept back until the broker has confirmed their push."""
        return self._dispatcher.held

    def run(self) -> None:
        """Serve; returns after :meth:`stop`, once every request in progress is answered or `shutdown_s` is over."""
        self._thread = threading.get_ident()
        while not self._stopping:
            self._turn(1.0)
        self._drain()
        self._dispatcher.shutdown(cancel_pending=True, timeout=1)
        wasyncore.close_all(self._map)

    def stop(self) -> None:
        """End :meth:`run`.  May be called from a signal handler or any thread."""
        if not self._stopping:
            self._stopping = True
            self._server.trigger.pull_trigger()

    def _drain(self) -> None:
        wasyncore.dispatcher.close(self._server)  # only the listening socket: new connections are refused
        deadline = time.monotonic() + self._shutdown_s
        while time.monotonic() < deadline:
            self._turn(_TURN_S)
            for channel in list(self._server.active_channels.values()):
                if channel.idle():
                    channel.handle_close()
            if not self._server.active_channels:
                return

    def _turn(self, timeout_s: float) -> None:
        wasyncore.loop(timeout=self._dispatcher.idle_s(timeout_s), use_poll=True, map=self._map, count=1)
        self._dispatcher.turn()

    def _wake(self) -> None:
        """Have the loop look again; it will anyway when it is the loop that asks."""
        if threading.get_ident() != self._thread:
            self._server.trigger.pull_trigger()


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def _connection_limit() -> int:
    """Stay below the limit of open files: at that, waitress would try to accept without end."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_MAX_CONNECTIONS, files - _OTHER_FILES))
