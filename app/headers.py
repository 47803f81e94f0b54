"""The headers that every answer carries, put on at the WSGI border, where that is a list operation.

Flask's after_request hooks would do it through werkzeug's Headers, at a cost of a twentieth of a whole push.
"""

from collections.abc import Callable, Iterable
from typing import Any

from app.answers import speaks_im

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss: http: https:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ALWAYS = tuple(SECURITY_HEADERS.items())
_NO_STORE = ("Cache-Control", "no-store")

WsgiApp = Callable[..., Iterable[bytes]]


def with_headers(app: WsgiApp) -> WsgiApp:
    """Wrap *app*: security headers on all it answers; what /v1 and im-cloud's routes say is not to be stored."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            headers.extend(_ALWAYS)
            if (path.startswith("/v1/") or speaks_im(path)) and not _says_how_to_cache(headers):
                headers.append(_NO_STORE)
            return start_response(status, headers, *exc_info)

        return app(environ, start)

    return wrapped


def _says_how_to_cache(headers: list[tuple[str, str]]) -> bool:
    return any(name.lower() == "cache-control" for name, _ in headers)
