"""The types of a push's fields, each with the message for what it is not.  Pure; converts nothing."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.times import parse_ms
from proto import keys as key_names

MAX_TTL_S = 86_400
MAX_DURABLE_TTL_S = 604_800
MAX_DELAY_S = 2_592_000
MAX_REQUEST_ID = 128
MAX_SPEED = 1_000_000
_MAX_SERVER = 256
_MAX_PORT = 65_535
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})(?:#[A-Za-z0-9._-]+)?")
_INT64 = range(-(2**63), 2**63)


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


def _request_id(text: str) -> str:
    if not 1 <= len(text) <= MAX_REQUEST_ID or not text.isprintable():
        raise _flaw(f"must be 1 to {MAX_REQUEST_ID} printable characters")
    return text


def _time(text: str) -> str:
    try:
        parse_ms(text)
    except ValueError:
        raise _flaw("must be a time with an offset, as in 2027-01-31T09:30:00Z (RFC 3339)") from None
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
Speed = Annotated[int, Field(ge=1, le=MAX_SPEED)]
# How long is too long depends on whether the push is durable: app/requests.py looks at that.
TtlS = Annotated[int, Field(ge=1, json_schema_extra={"maximum": MAX_DURABLE_TTL_S})]
DelayS = Annotated[float, Field(ge=0, le=MAX_DELAY_S)]
Time = Annotated[str, AfterValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
RequestId = Annotated[
    str,
    AfterValidator(_request_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_REQUEST_ID}),
]
