"""The routes of im-cloud and goim, so that their callers need not change: other forms of the same calls.

Fields may come as JSON, as a form, or in the query; answers wear im-cloud's envelope.  In a form or query `msg` is
text and arrives as a JSON string; one value with commas is a list, as in Spring.  Refuses to have rules of its own:
what is a valid push is decided by app/requests.py.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from flask import Response, request
from pydantic import BaseModel
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from app.accept import Acceptor
from app.answers import enveloped
from app.body import read_bytes, read_json
from app.presence import DEFAULT_ROOMS, MAX_ROOMS, Presence, limit_asked
from app.pushes import fresh_id
from app.requests import Limits, read_push
from app.routes import Answer, Parameter, Route
from app.turn import turn_of
from proto.errors import FieldProblem, InvalidPush

_TAG = "im-cloud"
_FORM = "application/x-www-form-urlencoded"
_LISTS = ("keys", "mids", "rooms")
_NUMBERS = ("operation", "speed")
_COMMON = ("operation", "msg", "server")
_MAX_FIELDS = 2000
_SCHEME = "://"


class Envelope(BaseModel):
    """What every im-cloud route answers; code is 0, or the HTTP status."""

    code: int
    msg: str
    data: Any


class Im:
    """The endpoints."""

    def __init__(
        self,
        acceptor: Acceptor,
        presence: Presence,
        limits: Limits,
        *,
        max_body_bytes: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._acceptor = acceptor
        self._presence = presence
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._now_ms = now_ms

    def push_keys(self) -> Response:
        """Push to keys."""
        fields = self._fields()
        return self._push(fields, ("keys",), {"keys": fields.get("keys")})

    def push_mids(self) -> Response:
        """Push to members."""
        fields = self._fields()
        return self._push(fields, ("mids",), {"mids": fields.get("mids")})

    def push_room(self) -> Response:
        """Push to a room."""
        fields = self._fields()
        room = fields.get("room") or None  # an empty one names no room
        if isinstance(room, int) and not isinstance(room, bool):
            room = str(room)  # im-cloud's callers number their rooms
        if isinstance(room, str):
            room = room_named(fields.get("type"), room)
        return self._push(fields, ("type", "room"), {"rooms": None if room is None else [room]})

    def push_all(self) -> Response:
        """Push to every session, at goim's speed if that is given; 0 is none."""
        fields = self._fields()
        return self._push(fields, ("speed",), {"all": True, "speed": fields.get("speed") or None})

    def top(self) -> Response:
        """List the largest rooms, of one type if asked."""
        limit = limit_asked(request.args.get("limit"), DEFAULT_ROOMS)
        prefix = room_named(request.args.get("type"), "")
        found = self._presence.top(MAX_ROOMS if prefix else limit)
        return enveloped(
            [{"room_id": room, "count": count} for room, count in found if room.startswith(prefix)][:limit]
        )

    def room(self) -> Response:
        """Count the sessions of rooms."""
        named = [room_named(request.args.get("type"), room) for room in _listed(request.args.getlist("rooms"))]
        named += [room_named(request.args.get("type"), room) for room in _listed(request.args.getlist("room"))]
        if not 1 <= len(named) <= self._limits.max_targets:
            raise InvalidPush([FieldProblem("rooms", f"name 1 to {self._limits.max_targets} rooms")])
        return enveloped(self._presence.room_counts(named))

    def total(self) -> Response:
        """Give the totals under goim's names."""
        totals = self._presence.totals()
        return enveloped({"conn_count": totals.sessions, "node_count": totals.nodes})

    def instances(self) -> Response:
        """List the nodes."""
        return enveloped([node.model_dump(mode="json") for node in self._presence.instances()])

    def _push(self, fields: Mapping[str, Any], own: tuple[str, ...], targets: Mapping[str, Any]) -> Response:
        unknown = [FieldProblem(name[:64], "is not a known field") for name in fields if name not in (*own, *_COMMON)]
        names = {"operation": "op", "msg": "msg", "server": "server"}
        value = {names[name]: fields[name] for name in _COMMON if name in fields}
        value |= {name: target for name, target in targets.items() if target is not None}
        now_ms = self._now_ms()
        try:
            push = read_push(value, now_ms=now_ms, push_id=fresh_id(now_ms), limits=self._limits)
        except InvalidPush as error:
            raise InvalidPush([_renamed(problem, own) for problem in error.problems] + unknown) from None
        if unknown:
            raise InvalidPush(unknown)
        if (turn := turn_of(request.environ)) is None:
            self._acceptor.accept(push)
        else:
            self._acceptor.begin(push, turn)
        return enveloped({"push_id": push.push_id, "status": "accepted"})

    def _fields(self) -> dict[str, Any]:
        """Gather what the caller sent, wherever it is."""
        sent = _from_texts(request.args.to_dict(flat=False))
        if request.mimetype == "application/json":
            value = read_json(request, self._max_body_bytes)
            if not isinstance(value, dict):
                raise InvalidPush([FieldProblem("", "must be a JSON object")])
            return sent | value
        raw = read_bytes(request, self._max_body_bytes)
        if raw and request.mimetype != _FORM:
            raise UnsupportedMediaType(f"Content-Type must be application/json or {_FORM}.")
        try:
            form = parse_qs(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        except ValueError as error:  # not UTF-8, or too many fields
            raise BadRequest("The form cannot be read.") from error
        return sent | _from_texts(form)

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        return tuple(self._push_routes()) + tuple(self._read_routes())

    def _push_routes(self) -> list[Route]:
        common = (_text("operation", "The op; 9 if absent."), _text("msg", "Text."), _text("server", "host:port."))
        ways = (
            ("keys", self.push_keys, "Push to keys", (_list("keys", "Keys."),)),
            ("mids", self.push_mids, "Push to members", (_list("mids", "Members."),)),
            ("room", self.push_room, "Push to a room", (_text("type", "As in live."), _text("room", "As in 1000."))),
            ("all", self.push_all, "Push to every session", (_text("speed", "Sessions of a node a second."),)),
        )
        return [
            Route(
                "POST",
                f"/im/push/{name}",
                serve,
                f"{summary}; fields as JSON, form or query",
                _TAG,
                {200: Answer("Confirmed by the broker.", Envelope)},
                (400, 401, 403, 413, 415, 422, 429, 503),
                parameters=own + common,
            )
            for name, serve, summary, own in ways
        ]

    def _read_routes(self) -> list[Route]:
        kind = _text("type", "Kind of room, as live in live://1000.")
        ok = {200: Answer("In the envelope.", Envelope)}
        limit = Parameter("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_ROOMS})
        rooms = _list("rooms", "Rooms to count.")
        return [
            Route(
                "GET", "/im/online/top", self.top, "Largest rooms", _TAG, ok, (401, 422, 503), parameters=(kind, limit)
            ),
            Route(
                "GET", "/im/online/room", self.room, "Count rooms", _TAG, ok, (401, 422, 503), parameters=(kind, rooms)
            ),
            Route("GET", "/im/online/total", self.total, "Totals", _TAG, ok, (401, 503)),
            Route("GET", "/im/nodes/instances", self.instances, "Live nodes", _TAG, ok, (401, 503)),
        ]


def room_named(kind: object, room: str) -> str:
    """Join goim's type and room: type ``live`` and ``live://`` both name ``live://<room>``; no type, *room* itself."""
    if not isinstance(kind, str) or not kind:
        return room
    return kind.removesuffix(_SCHEME) + _SCHEME + room


def _from_texts(texts: Mapping[str, list[str]]) -> dict[str, Any]:
    """Give form or query fields the types that JSON would have given them."""
    fields: dict[str, Any] = {}
    for name, values in texts.items():
        if name in _LISTS:
            fields[name] = _listed(values)
        elif len(values) > 1:
            raise InvalidPush([FieldProblem(name[:64], "is given more than once")])
        else:
            fields[name] = _number(values[0]) if name in _NUMBERS else values[0]
    return fields


def _listed(values: list[str]) -> list[str]:
    return values[0].split(",") if len(values) == 1 else values


def _number(text: str) -> int | str:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else text  # noqa: PLR2004


def _renamed(problem: FieldProblem, own: tuple[str, ...]) -> FieldProblem:
    """Name the field as the caller of these routes knows it."""
    if problem.field == "op":
        return FieldProblem("operation", problem.message)
    if problem.message.startswith("name at least one target") and own:
        return FieldProblem(own[-1], "is required")
    if "room" in own and problem.field.startswith("rooms"):
        return FieldProblem("room", problem.message)
    return problem


def _text(name: str, description: str) -> Parameter:
    return Parameter(name, description, {"type": "string"})


def _list(name: str, description: str) -> Parameter:
    return Parameter(name, description, {"type": "array", "items": {"type": "string"}})
