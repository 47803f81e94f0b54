"""JSON value → Push, or InvalidPush with everything that is wrong with it.  Pure: time, id and limits are arguments.

Refuses to read HTTP (app/body.py), to look anything up, and to guess: no value is converted, no field ignored.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from app import fields
from app.body import deeper_than
from app.times import parse_ms
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from proto.message import RAW_OP, Message, Push
from proto.queues import Priority

MAX_DEPTH = 64
MAX_PROBLEMS = 100
_MAX_NAME = 64
_TARGETS = ("keys", "mids", "rooms")
_EMPTY: JsonDict = {"default": []}  # for the document; a default that is a list is copied, deeply, for each push


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one push may ask for, and how long it lives when it does not say so."""

    max_message_bytes: int = 65_536
    max_targets: int = 1000
    default_ttl_s: int = 60
    durable_ttl_s: int = 86_400


class PushRequest(BaseModel):
    """Body of `POST /v1/pushes`: one message to at least one target."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    keys: list[fields.PlainKey] = Field(
        default_factory=list, json_schema_extra=_EMPTY, description="Plain keys, as sessions connected with them."
    )
    mids: list[fields.Mid] = Field(
        default_factory=list, json_schema_extra=_EMPTY, description="Members: each of their sessions gets the message."
    )
    rooms: list[fields.Room] = Field(
        default_factory=list, json_schema_extra=_EMPTY, description="Rooms: each session that joined gets the message."
    )
    all: bool = Field(default=False, description="Every session.")
    server: fields.Server | None = Field(
        default=None, description="Straight to this node, without a look at the directory. Not with durable."
    )
    op: fields.Op = Field(default=RAW_OP, description="What the message is; sessions may list the ops they accept.")
    msg: Any = Field(description="The message: any JSON value, null too.")
    ttl_s: fields.TtlS | None = Field(
        default=None,
        description="So many seconds after it is due it is no longer delivered; the server's default (60, durable: "
        f"86400) if absent. At most {fields.MAX_TTL_S} unless durable.",
    )
    priority: Literal["high", "normal", "bulk"] = Field(
        default="normal", description="Separate queues. Never changes the order of one key's durable messages."
    )
    durable: bool = Field(
        default=False, description="Kept in the inbox of each key until it expires; sessions that reconnect get it."
    )
    delay_s: fields.DelayS = Field(default=0, description="Deliver after so many seconds, not before.")
    deliver_at: fields.Time | None = Field(default=None, description="Deliver at this time, not before; past: now.")
    speed: fields.Speed | None = Field(
        default=None,
        description="With nothing but all: each node hands the message to at most so many of its sessions in any "
        "second, until all have it or ttl_s is over. Not with durable.",
    )
    request_id: fields.RequestId | None = Field(
        default=None, description="The caller's own name for this call: for 24 hours a repeated call is one push."
    )
    trace: bool = Field(default=False, description="Keep a receipt of an ephemeral push, too.")


_TEXTS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:.0f}",
    "literal_error": "must be one of high, normal, bulk",
}


def read_push(value: Any, *, now_ms: int, push_id: str, limits: Limits) -> Push:
    """Give the push that *value* asks for; raise InvalidPush naming every field at fault."""
    if not isinstance(value, dict):
        raise InvalidPush([FieldProblem("", "must be a JSON object")])
    problems = list(_target_problems(value, limits))
    if any(problem.message.startswith("holds too many") for problem in problems):
        value = {name: ([] if name in _TARGETS else member) for name, member in value.items()}
    request: PushRequest | None = None
    try:
        request = PushRequest.model_validate(value)
    except ValidationError as error:
        problems += map(_problem, error.errors(include_url=False, include_input=False))
    faulty = {problem.field for problem in problems}
    problems += [problem for problem in _conflicts(value, now_ms) if problem.field not in faulty]
    body, message_problem = _encoded(value, limits)
    if message_problem is not None:
        problems.append(message_problem)
    if problems or request is None:
        raise InvalidPush(problems[:MAX_PROBLEMS])
    return _push(request, body, now_ms=now_ms, push_id=push_id, limits=limits)


def digest_of(value: Mapping[str, Any]) -> str:
    """Give what two bodies have in common exactly when they ask for the same: the order of names does not matter."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _push(request: PushRequest, body: bytes, *, now_ms: int, push_id: str, limits: Limits) -> Push:
    due_ms = now_ms + math.ceil(request.delay_s * 1000)
    if request.deliver_at is not None:
        due_ms = max(now_ms, parse_ms(request.deliver_at))
    default_s = limits.durable_ttl_s if request.durable else limits.default_ttl_s
    return Push(
        push_id=push_id,
        keys=_keys(request),
        message=Message(op=request.op, body=body),
        priority=Priority(request.priority),
        server=request.server,
        accepted_ms=now_ms,
        expires_ms=due_ms + 1000 * (request.ttl_s or default_s),
        durable=request.durable,
        not_before_ms=due_ms if due_ms > now_ms else 0,
        recorded=request.durable or request.trace or due_ms > now_ms,
        request_id=request.request_id,
        speed=request.speed or 0,
    )


def _keys(request: PushRequest) -> tuple[str, ...]:
    named = [
        *request.keys,
        *map(key_names.mid_key, request.mids),
        *map(key_names.room_key, request.rooms),
        *([key_names.ALL] if request.all else []),
    ]
    return tuple(dict.fromkeys(named))


def _target_problems(value: Mapping[str, Any], limits: Limits) -> Iterator[FieldProblem]:
    """Look at how many targets there are, before anyone looks at each."""
    sizes = {name: len(value[name]) for name in _TARGETS if isinstance(value.get(name), list)}
    malformed = [name for name in _TARGETS if name in value and name not in sizes]
    if sum(sizes.values()) > limits.max_targets:
        most = max(sizes, key=lambda name: sizes[name])
        yield FieldProblem(most, f"holds too many: a push has at most {limits.max_targets} targets in all")
    elif not (any(sizes.values()) or malformed or value.get("all", False)):
        yield FieldProblem("keys", "name at least one target: keys, mids, rooms or all")


def _conflicts(value: Mapping[str, Any], now_ms: int) -> Iterator[FieldProblem]:
    """Name what each field allows and another, or the time, does not."""
    durable, ttl_s, deliver_at = (value.get(name) for name in ("durable", "ttl_s", "deliver_at"))
    longest_s = fields.MAX_DURABLE_TTL_S if durable is True else fields.MAX_TTL_S
    if isinstance(ttl_s, int) and ttl_s > longest_s:
        yield FieldProblem("ttl_s", f"must be at most {longest_s}")
    if durable is True and value.get("server") is not None:
        yield FieldProblem("server", "cannot be named for a durable push: whoever answers to its keys gets it")
    if value.get("speed") is not None:
        if durable is True:
            yield FieldProblem(
                "speed", "cannot be given for a durable push: its sessions get it in the order of the inbox"
            )
        elif not value.get("all", False) or any(value.get(name) for name in _TARGETS):
            yield FieldProblem("speed", "is for a push to all, and to nobody by name")
    if deliver_at is None:
        return
    if value.get("delay_s"):
        yield FieldProblem("deliver_at", "cannot be given together with delay_s")
    elif isinstance(deliver_at, str) and _ms_until(deliver_at, now_ms) > 1000 * fields.MAX_DELAY_S:
        yield FieldProblem("deliver_at", f"must be at most {fields.MAX_DELAY_S} seconds from now")


def _ms_until(text: str, now_ms: int) -> int:
    try:
        return parse_ms(text) - now_ms
    except ValueError:
        return 0  # the model has said so


def _encoded(value: Mapping[str, Any], limits: Limits) -> tuple[bytes, FieldProblem | None]:
    """Give `msg` as it travels, or what keeps it from travelling."""
    if "msg" not in value:
        return b"", None  # the model has said so
    if deeper_than(MAX_DEPTH, value["msg"]):
        return b"", FieldProblem("msg", f"must be nested at most {MAX_DEPTH} levels deep")
    try:
        body = orjson.dumps(value["msg"])
    except TypeError as error:  # an integer beyond 64 bits
        return b"", FieldProblem("msg", f"cannot be sent as JSON: {str(error).lower()}")
    if len(body) > limits.max_message_bytes:
        return b"", FieldProblem("msg", f"must be at most {limits.max_message_bytes} bytes as JSON, not {len(body)}")
    return body, None


def _problem(error: ErrorDetails) -> FieldProblem:
    first, *rest = error["loc"] or ("",)
    path = str(first)[:_MAX_NAME] + "".join(f"[{part}]" for part in rest if isinstance(part, int))
    context = error.get("ctx", {})
    template = _TEXTS.get(error["type"])
    return FieldProblem(path, template.format(**context) if template else error["msg"])
