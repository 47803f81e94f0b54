"""JSON value → Push, or InvalidPush with everything that is wrong with it.  Pure: time, id and limits are arguments.

Refuses to read HTTP (app/body.py), to look anything up, and to guess: no value is converted, no field ignored.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from app.body import deeper_than
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from proto.message import RAW_OP, Message, Push
from proto.queues import Priority

MAX_DEPTH = 64
MAX_PROBLEMS = 100
MAX_TTL_S = 86_400
_MAX_SERVER = 256
_MAX_PORT = 65_535
_MAX_NAME = 64
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})(?:#[A-Za-z0-9._-]+)?")
_INT64 = range(-(2**63), 2**63)
_TARGETS = ("keys", "mids", "rooms")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one push may ask for."""

    max_message_bytes: int = 65_536
    max_targets: int = 1000
    default_ttl_s: int = 60


def _flaw(message: str) -> PydanticCustomError:
    return PydanticCustomError("flaw", "{text}", {"text": message})


def _without(find: Callable[[str], str | None]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if (message := find(text)) is not None:
            raise _flaw(message)
        return text

    return check


def _mid(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _flaw("must be a string or an integer")
    if isinstance(value, int):
        if value not in _INT64:
            raise _flaw("must fit 64 bits")
        return str(value)
    return _without(key_names.mid_flaw)(value)


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if len(text) > _MAX_SERVER or match is None or not 1 <= int(match["port"]) <= _MAX_PORT:
        raise _flaw("must be host:port or host:port#boot, at most 256 characters")
    return text


_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": key_names.MAX_KEY_BYTES}
PlainKey = Annotated[str, AfterValidator(_without(key_names.plain_key_flaw)), WithJsonSchema(_KEY_SCHEMA)]
Room = Annotated[str, AfterValidator(_without(key_names.room_flaw)), WithJsonSchema(_KEY_SCHEMA)]
Mid = Annotated[
    str,
    PlainValidator(_mid),
    WithJsonSchema({"anyOf": [_KEY_SCHEMA, {"type": "integer", "format": "int64"}]}),
]
Server = Annotated[str, AfterValidator(_server)]
Op = Annotated[int, Field(ge=0, le=2**31 - 1)]


class PushRequest(BaseModel):
    """Body of `POST /v1/pushes`: one message to at least one target."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    keys: list[PlainKey] = Field(default=[], description="Plain keys, as sessions connected with them.")
    mids: list[Mid] = Field(default=[], description="Members: each of their sessions gets the message.")
    rooms: list[Room] = Field(default=[], description="Rooms: each session that joined gets the message.")
    all: bool = Field(default=False, description="Every session.")
    server: Server | None = Field(default=None, description="Straight to this node, without a look at the directory.")
    op: Op = Field(default=RAW_OP, description="What the message is; sessions may list the ops they accept.")
    msg: Any = Field(description="The message: any JSON value, null too.")
    ttl_s: Annotated[int, Field(ge=1, le=MAX_TTL_S)] | None = Field(
        default=None,
        description="After so many seconds it is no longer delivered; the server's default (60) if absent.",
    )
    priority: Literal["high", "normal", "bulk"] = Field(default="normal", description="Separate queues.")
    durable: bool = Field(default=False, description="Not supported yet: only false is taken.")
    delay_s: Annotated[float, Field(ge=0)] = Field(default=0, description="Not supported yet: only 0 is taken.")
    deliver_at: str | None = Field(default=None, description="Not supported yet: leave it out.")
    request_id: str | None = Field(default=None, description="Not supported yet: leave it out.")
    trace: bool = Field(default=False, description="Not supported yet: only false is taken.")


# What is not in this release, and the one value each field may have until then.
_NOT_YET: Mapping[str, object] = {
    "durable": False,
    "delay_s": 0,
    "deliver_at": None,
    "request_id": None,
    "trace": False,
}

_TEXTS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le}",
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
    problems += [
        FieldProblem(name, "not supported yet")
        for name, only in _NOT_YET.items()
        if name in value and name not in faulty and value[name] != only
    ]
    body, message_problem = _encoded(value, limits)
    if message_problem is not None:
        problems.append(message_problem)
    if problems or request is None:
        raise InvalidPush(problems[:MAX_PROBLEMS])
    return Push(
        push_id=push_id,
        keys=_keys(request),
        message=Message(op=request.op, body=body),
        priority=Priority(request.priority),
        server=request.server,
        accepted_ms=now_ms,
        expires_ms=now_ms + 1000 * (request.ttl_s or limits.default_ttl_s),
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
