"""A worker's /health and /metrics, on a thread of their own.

``live``: the process answers.  ``ready``: it consumes from the broker and the store answers.
"""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
import redis

from proto.errors import StoreUnavailable
from proto.exposition import expose
from store.connection import ping
from tasks import metrics


class HealthServer:
    """Serves until :meth:`stop`.  Set *consumer* once Celery's consumer runs."""

    def __init__(self, host: str, port: int, store: redis.Redis) -> None:
        self._store = store
        self.consumer: Any = None
        self._server = make_server(host, port, self._answer, server_class=_Threaded, handler_class=_Quiet)
        self.url = f"http://{host}:{self._server.server_port}"

    def start(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                self._store_up()
                text, content_type = expose(metrics.REGISTRY, environ.get("HTTP_ACCEPT"))
                start_response("200 OK", [("Content-Type", content_type)])
                return [text]
            case "/health/live":
                return _json(start_response, "200 OK", {"status": "ok"})
            case "/health/ready":
                checks = {"broker": self._consuming(), "store": self._store_up()}
                ok = all(checks.values())
                status = "200 OK" if ok else "503 Service Unavailable"
                return _json(start_response, status, {"status": "ok" if ok else "unavailable", "checks": checks})
        return _json(
            start_response, "404 Not Found", {"status": "no such page", "pages": ["/health/ready", "/metrics"]}
        )

    def _consuming(self) -> bool:
        connection = getattr(self.consumer, "connection", None)
        return bool(connection is not None and connection.connected)

    def _store_up(self) -> bool:
        try:
            ping(self._store)
        except StoreUnavailable:
            metrics.STORE_UP.set(0)
            return False
        metrics.STORE_UP.set(1)
        return True


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds for a client to say what it wants

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: scrapes come every few seconds."""


def _json(start_response: Callable[..., Any], status: str, body: Any) -> list[bytes]:
    # A new list each time: wsgiref adds Content-Length to the one it is given.
    start_response(status, [("Content-Type", "application/json")])
    return [orjson.dumps(body)]
