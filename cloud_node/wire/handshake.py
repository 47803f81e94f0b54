"""The opening handshake of a websocket, server side.  Pure.

``parse`` spares plain upgrades an HTTP server, for storms of reconnects; it refuses to judge anything else: None means
that a full HTTP server must have the untouched bytes.  ``flaw`` is what that server asks about an upgrade before it
answers.  No extension or subprotocol is taken: an offer is declined by silence (RFC 7692 §5.1).

Source: RFC 6455 §4.2 (what a server checks and answers), RFC 9112 §3 and §5 (request line and header fields).
"""

import binascii
import json
from collections.abc import Mapping
from hashlib import sha1
from typing import NamedTuple

MAX_HEAD = 8192  # bytes; a longer one is the HTTP server's to judge

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz"  # noqa: S105 - no "_": WSGI takes it for "-"
_BODY = frozenset({"content-length", "transfer-encoding", "trailer", "te", "expect"})
_KEY_BYTES = 16
_NOT_IN_HOST = frozenset(" ,/?#@\\<>\"'")
_VERSION = "Unsupported websocket version"

Flaw = tuple[str, list[tuple[str, str]], bytes]


class Upgrade(NamedTuple):
    """A request to speak websocket; ``size`` is the bytes of its head: what follows them are frames.

    ``headers`` has every header once, by its lower-case name.
    """

    path: str
    query: dict[str, str]
    origin: str | None
    key: str
    host: str
    headers: dict[str, str]
    size: int


def parse(head: bytes) -> Upgrade | None:
    """Read the beginning of a connection: an upgrade that is complete and usual in every way, or None."""
    end = head.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0 or not head.startswith(b"GET /") or not head[:end].isascii():
        return None
    lines = head[:end].decode().split("\r\n")
    if not "".join(lines).isprintable():  # finds a bare CR or LF, and tabs too
        return None
    headers, target = _headers(lines), _target(lines[0])
    if headers is None or target is None or not _is_upgrade(headers):
        return None
    key, host = headers["sec-websocket-key"], headers["host"]
    return Upgrade(*target, headers.get("origin"), key, host, headers, end + 4)


def accept(key: str) -> str:
    """Give the proof that the request was read (RFC 6455 §4.2.2)."""
    digest = sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def response(key: str) -> bytes:
    """Give the whole answer to an upgrade."""
    return _SWITCHING + accept(key).encode() + b"\r\n\r\n"


def flaw(environ: Mapping[str, object]) -> Flaw | None:
    """Say how a WSGI server must answer instead of upgrading (status, headers, body); None when nothing is wrong."""

    def of(name: str) -> str:
        return str(environ.get(name, "")).strip()

    checks = {
        "A websocket begins with a GET": of("REQUEST_METHOD") == "GET",
        "No Upgrade: websocket": "websocket" in _tokens(of("HTTP_UPGRADE")),
        "No Connection: Upgrade": "upgrade" in _tokens(of("HTTP_CONNECTION")),
        "No Sec-WebSocket-Version": of("HTTP_SEC_WEBSOCKET_VERSION") != "",
        _VERSION: of("HTTP_SEC_WEBSOCKET_VERSION") in ("", "13"),
        "Bad Sec-WebSocket-Key": _is_key(of("HTTP_SEC_WEBSOCKET_KEY")),
        "Bad Host": _is_host(of("HTTP_HOST")),
        "Bad Origin": "," not in of("HTTP_ORIGIN"),  # WSGI servers join what came twice
        "An upgrade has no body": of("CONTENT_LENGTH") in ("", "0") and not of("HTTP_TRANSFER_ENCODING"),
    }
    why = next((why for why, fine in checks.items() if not fine), None)
    if why is None:
        return None
    more = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")] if why == _VERSION else []
    status = "426 Upgrade Required" if more else "400 Bad Request"
    return status, [("Content-Type", "text/plain"), *more], json.dumps(why).encode()


def _headers(lines: list[str]) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name in headers or name.strip(_TOKEN):
            return None
        headers[name] = value.strip(" ")
    return headers


def _is_upgrade(headers: dict[str, str]) -> bool:
    get, connection = headers.get, headers.get("connection", "")
    return (
        get("upgrade", "").lower() == "websocket"
        and get("sec-websocket-version") == "13"
        and (connection == "Upgrade" or {"upgrade"} <= _tokens(connection) <= {"upgrade", "keep-alive"})
        and _is_key(get("sec-websocket-key", ""))
        and _is_host(get("host", ""))
        and "," not in get("origin", "")
        and _BODY.isdisjoint(headers)
    )


def _tokens(value: str) -> set[str]:
    return {token.strip() for token in value.lower().split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    return bool(host) and _NOT_IN_HOST.isdisjoint(host)


def _target(line: str) -> tuple[str, dict[str, str]] | None:
    """Read the request line; what is encoded, empty or said twice in it is the HTTP server's to understand."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":  # noqa: PLR2004
        return None
    path, mark, text = parts[1].partition("?")
    if path.startswith("//") or not {"%", "+", "#", "\\"}.isdisjoint(parts[1]):
        return None
    query: dict[str, str] = {}
    for pair in text.split("&") if mark else ():
        name, _, value = pair.partition("=")
        if not name or not value or name in query:
            return None
        query[name] = value
    return path, query
