"""A node's /health and /metrics, on its Socket.IO port.  Answers from memory: nothing here may block the hub.

``live``: the hub turns.  ``ready``: the lease runs, the data path works, and the node is not draining.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import orjson

from cloud_node import metrics
from proto.exposition import expose
from store.registry import NodeInfo

StartResponse = Callable[..., Any]


class HealthPages:
    """A WSGI application beside Socket.IO.  *checks* are the conditions of readiness, by name."""

    def __init__(self, describe: Callable[[], NodeInfo], checks: Callable[[], dict[str, bool]]) -> None:
        self._describe = describe
        self._checks = checks

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        match environ["PATH_INFO"]:
            case "/health/live":
                return _json(start_response, "200 OK", {"status": "ok"})
            case "/health/ready":
                return self._ready(start_response)
            case "/metrics":
                info, checks = self._describe(), self._checks()
                metrics.PROBE_AGE_SECONDS.set(-1 if info.probe_age_ms is None else info.probe_age_ms / 1000)
                metrics.LEASED.set(checks["lease"])
                metrics.DRAINING.set(info.draining)
                text, content_type = expose(metrics.REGISTRY, environ.get("HTTP_ACCEPT"))
                start_response("200 OK", [("Content-Type", content_type)])
                return [text]
        pages = ["/socket.io/", "/health/live", "/health/ready", "/metrics"]
        return _json(start_response, "404 Not Found", {"status": "no such page", "pages": pages})

    def _ready(self, start_response: StartResponse) -> list[bytes]:
        checks = self._checks()
        ok = all(checks.values())
        body = {"status": "ok" if ok else "unavailable", "checks": checks, **asdict(self._describe())}
        return _json(start_response, "200 OK" if ok else "503 Service Unavailable", body)


class Admission:
    """Before Socket.IO: turns new handshakes away while the node drains, so that clients try again elsewhere.

    A refusal on the Socket.IO level would stop a client's own reconnecting; a 503 does not.
    """

    def __init__(self, app: Callable[..., Any], draining: Callable[[], bool]) -> None:
        self._app = app
        self._draining = draining

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        """Answer one request."""
        handshake = environ["PATH_INFO"].startswith("/socket.io/") and "sid=" not in environ.get("QUERY_STRING", "")
        if handshake and self._draining():
            headers = [("Content-Type", "application/json"), ("Retry-After", "1")]
            start_response("503 Service Unavailable", headers)
            return [orjson.dumps({"code": "draining", "message": "this node is draining: connect to another"})]
        return self._app(environ, start_response)


def _json(start_response: StartResponse, status: str, body: object) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [orjson.dumps(body)]
