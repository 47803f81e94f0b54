"""HTTP body → JSON value, strictly, or the HTTP error that says why not (400, 413, 415).

orjson guards the gate (UTF-8, no NaN, no lone surrogates, no trailing commas).  The value is then built by the standard
library's parser, because orjson keeps the last of two equal names and turns integers beyond 64 bits into floats: both
would deliver something else than what was sent.  Refuses to know what the value means.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from proto.errors import FieldProblem

# Far beyond what a push may hold (app/requests.py), far below where the parsers' recursion ends.
MAX_DEPTH = 200


class NotJson(BadRequest):
    """The body is not JSON that means one thing."""

    def __init__(self, detail: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.problems = tuple(problems)


class _Repeated(ValueError):
    """An object names one member twice."""


def check_text(environ: Mapping[str, Any]) -> None:
    """Refuse a path or query that is not UTF-8, in which werkzeug would replace what it cannot read (RFC 3986, 2.5)."""
    try:
        environ["PATH_INFO"].encode("latin-1").decode()  # PEP 3333 hands bytes over as latin-1
        unquote_to_bytes(environ.get("QUERY_STRING", "")).decode()
    except UnicodeError as error:
        raise BadRequest("The path and query must be UTF-8.") from error


def read_json(request: Request, max_bytes: int) -> Any:
    """Give the JSON value that *request* carries."""
    return parse(json_bytes(request, max_bytes))


def json_bytes(request: Request, max_bytes: int) -> bytes:
    """Give the body that *request* says is JSON, unread."""
    if request.environ.get("CONTENT_TYPE") == "application/json":  # as most callers write it
        return read_bytes(request, max_bytes)
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Content-Type must be application/json.")
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("JSON is UTF-8; no other charset is read.")
    return read_bytes(request, max_bytes)


def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Give the body as it is, at most *max_bytes*, whether its length was announced or it comes in chunks."""
    environ = request.environ
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType("Compressed bodies are not read: send no Content-Encoding.")
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    # A server that ends the stream where the body ends says so; others need werkzeug to count.
    stream = environ["wsgi.input"] if environ.get("wsgi.input_terminated") else request.stream
    parts: list[bytes] = []
    left = max_bytes + 1
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise _too_large(max_bytes)
    return b"".join(parts)


def _too_large(max_bytes: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"The body must be at most {max_bytes} bytes.")


def parse(raw: bytes) -> Any:
    """Parse *raw*, or raise NotJson."""
    try:
        value = orjson.loads(raw)
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and deeper_than(MAX_DEPTH, value):
            raise NotJson("The body is nested too deeply.")
        return json.loads(raw.decode(), object_pairs_hook=_without_repeats)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not JSON: {error}.") from error
    except _Repeated as error:
        name = str(error)
        raise NotJson("The body names one member twice.", [FieldProblem(name, "occurs twice in one object")]) from error


def deeper_than(limit: int, value: Any) -> bool:
    """Tell whether *value* holds more than *limit* lists and objects within each other; an empty one does not count."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            member
            for item in level
            if isinstance(item, dict | list)
            for member in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Repeated(name[:64])
            seen.add(name)
    return members
