"""Looks at what polling clients post before python-engineio does.

There, a body that is no payload is answered with 200 and a traceback in the log, and one that is too long keeps its
greenlet for ever if the client never polls again.  Here it is answered with 400 at once, and its session ends.
Refuses to look at anything but POST requests of sessions that exist.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import structlog
from engineio import packet
from engineio.payload import Payload

from cloud_node.wire.transport import Transport

_FROM_CLIENTS = frozenset({packet.CLOSE, packet.PONG, packet.MESSAGE, packet.UPGRADE})

log = structlog.get_logger()


class PostCheck:
    """A WSGI application around Socket.IO's."""

    def __init__(self, app: Callable[..., Any], transport: Transport, max_bytes: int) -> None:
        self._app = app
        self._transport = transport
        self._max_bytes = max_bytes

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] == "POST":
            (sid,) = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[:1]
            if self._transport.is_open(sid) and (flaw := self._flaw(environ)) is not None:
                log.info("malformed post: closed", reason=flaw)
                self._transport.end(sid)
                start_response("400 Bad Request", [("Content-Type", "text/plain")])
                return [b'"Malformed payload"']
        return self._app(environ, start_response)  # type: ignore[no-any-return]

    def _flaw(self, environ: dict[str, Any]) -> str | None:
        """Say what keeps the body from being a payload; one that is none stays to be read again."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self._max_bytes:
            return f"{length} bytes"
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        try:
            packets = Payload(encoded_payload=body.decode()).packets
        except (ValueError, KeyError) as error:
            return repr(error)
        stranger = next((each for each in packets if each.packet_type not in _FROM_CLIENTS), None)
        return None if stranger is None else f"packet of type {stranger.packet_type}"
