"""Who a session is and what it may be told: from the auth payload of a Socket.IO connect to an Identity.  Pure.

With a secret, the token's claims are the limit: ``key``, ``mid`` and ``rooms`` (exact names, or a prefix ending in
``*``).  The payload may ask for less, never for more.  Without a secret everybody may be anybody; server.py then
listens on loopback only.

Source of the token's form: RFC 7519 (JWT), RFC 7515 (JWS, HS256).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proto import keys as key_names
from proto.errors import Refused
from proto.message import Place

_INT32 = Annotated[int, Field(ge=0, le=2**31 - 1)]
_MAX_OPS = 256
_MAX_CURSORS = 200
_MAX_HISTORY = 1000
_SHOWN = 64
_SAID = {"extra_forbidden": "unknown field", "model_type": "must be an object"}  # pydantic would name our classes


@dataclass(frozen=True, slots=True)
class Identity:
    """What a session is: *accepts* None means every op; *may_join* None means every room.

    *made_up*: the key is new, nobody knew it before.  *resume*: the places up to which the client has each key.
    """

    key: str
    mid: str | None = None
    rooms: tuple[str, ...] = ()
    accepts: frozenset[int] | None = None
    platform: str = ""
    may_join: tuple[str, ...] | None = None
    made_up: bool = False
    resume: Mapping[str, Place] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that the session answers to from the start, its own first."""
        member = () if self.mid is None else (key_names.mid_key(self.mid),)
        return (self.key, *member, *(key_names.room_key(room) for room in self.rooms), key_names.ALL)


class _Cursor(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    epoch: Annotated[str, Field(max_length=32)]
    offset: Annotated[int, Field(ge=0, lt=2**53)]  # what JavaScript can count

    @property
    def place(self) -> Place:
        return Place(self.epoch, self.offset)


class _Auth(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    key: str | None = None
    mid: str | Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    rooms: list[str] = []
    accepts: Annotated[list[_INT32], Field(max_length=_MAX_OPS)] | None = None
    platform: Annotated[str, Field(max_length=64)] = ""
    token: Annotated[str, Field(max_length=8192)] | None = None
    resume: Annotated[dict[str, _Cursor], Field(max_length=_MAX_CURSORS)] | None = None


def identify(auth: object, *, secret: str | None, new_key: Callable[[], str], max_rooms: int) -> Identity:
    """Decide what the session that connects with *auth* is; raises Refused with a code and the field at fault."""
    asked = _parse(auth)
    claims = _claims(asked.token, secret) if secret is not None else None
    mid = None if asked.mid is None else str(asked.mid)
    key, mid, may_join = (asked.key, mid, None) if claims is None else _within(claims, asked.key, mid)
    rooms = tuple(dict.fromkeys(asked.rooms))
    identity = Identity(
        key=new_key() if key is None else key,
        mid=mid,
        rooms=rooms,
        accepts=None if asked.accepts is None else frozenset(asked.accepts),
        platform=asked.platform,
        may_join=may_join,
        made_up=key is None,
        resume={key: cursor.place for key, cursor in (asked.resume or {}).items()},
    )
    _check_names(identity)
    if len(rooms) > max_rooms:
        raise Refused("too_many_rooms", f"rooms: at most {max_rooms} rooms a session", "rooms")
    for index, room in enumerate(rooms):
        check_room(identity, room, f"rooms[{index}]")
    return identity


def check_room(identity: Identity, room: object, field: str = "room") -> str:
    """Give *room* back if this identity may be in it; raises Refused otherwise."""
    if not isinstance(room, str):
        raise Refused("invalid_room", f"{field}: must be a string", field)
    if flaw := key_names.room_flaw(room):
        raise Refused("invalid_room", f"{field}: {flaw}", field)
    if identity.may_join is not None and not any(_matches(rule, room) for rule in identity.may_join):
        raise Refused("forbidden_room", f"{field}: the token does not name room {room!r}", field)
    return room


@dataclass(frozen=True, slots=True)
class Join:
    """A client's ``join``: *after* is its cursor, *history* how many messages it begins with if it has none."""

    room: str
    history: int = 0
    after: Place | None = None


class _Join(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    room: str
    history: Annotated[int, Field(ge=0, le=_MAX_HISTORY)] = 0
    after: _Cursor | None = None


def check_join(identity: Identity, asked: object) -> Join:
    """Read what a client's ``join`` asks for, a room's name or an object; raises Refused."""
    if not isinstance(asked, dict):
        return Join(check_room(identity, asked))
    try:
        join = _Join.model_validate(asked)
    except ValidationError as error:
        raise _refusal("invalid_join", error) from None
    room = check_room(identity, join.room)
    return Join(room, join.history, None if join.after is None else join.after.place)


def check_ops(ops: object) -> frozenset[int] | None:
    """Give the ops that a client's ``accept`` event lists, None for every op; raises Refused otherwise."""
    if ops is None:
        return None
    if not isinstance(ops, list) or len(ops) > _MAX_OPS:
        raise Refused("invalid_ops", f"ops: must be a list of at most {_MAX_OPS} ops", "ops")
    for index, op in enumerate(ops):
        if type(op) is not int or not 0 <= op < 2**31:
            raise Refused("invalid_ops", f"ops[{index}]: must be an integer from 0 to {2**31 - 1}", f"ops[{index}]")
    return frozenset(ops)


def _parse(auth: object) -> _Auth:
    if auth is None:
        auth = {}
    if not isinstance(auth, dict):
        raise Refused("invalid_auth", "auth: must be an object", "auth")
    try:
        return _Auth.model_validate(auth)
    except ValidationError as error:
        raise _refusal("invalid_auth", error) from None


def _refusal(code: str, error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    field = _path(first["loc"])
    return Refused(code, f"{field}: {_SAID.get(first['type'], first['msg'])}", field)


def _path(loc: Sequence[int | str]) -> str:
    """Turn pydantic's location into ``rooms[2]`` or ``resume['alice'].offset``.

    Parts that name a member of a union are left out.
    """
    field = str(loc[0])
    for depth, part in enumerate(loc[1:], 1):
        if isinstance(part, int):
            field += f"[{part}]"
        elif loc[0] == "resume" and depth == 1:
            field += f"[{part[:_SHOWN]!r}]"
        elif loc[0] in ("resume", "after"):
            field += f".{part}"
    return field


def _claims(token: str | None, secret: str) -> dict[str, Any]:
    if token is None:
        raise Refused("token_required", "token: this node wants a token", "token")
    try:
        claims: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"])
    except jwt.ExpiredSignatureError:
        raise Refused("token_expired", "token: has expired", "token") from None
    except jwt.InvalidTokenError as error:
        raise Refused("invalid_token", f"token: {error}", "token") from None
    return claims


def _within(
    claims: dict[str, Any], key: str | None, mid: str | None
) -> tuple[str | None, str | None, tuple[str, ...] | None]:
    """Hold what is asked for against what the token grants; gives key, mid and room rules."""
    granted_key, granted_mid, granted_rooms = claims.get("key"), claims.get("mid"), claims.get("rooms", [])
    if granted_key is not None and not isinstance(granted_key, str):
        raise Refused("invalid_token", "token: claim key must be a string", "token")
    if not isinstance(granted_rooms, list) or not all(isinstance(rule, str) for rule in granted_rooms):
        raise Refused("invalid_token", "token: claim rooms must be a list of strings", "token")
    if isinstance(granted_mid, bool) or not isinstance(granted_mid, str | int | None):
        raise Refused("invalid_token", "token: claim mid must be a string or an integer", "token")
    if key is not None and key != granted_key:
        raise Refused("forbidden_key", "key: the token does not grant this key", "key")
    if mid is not None and (granted_mid is None or mid != str(granted_mid)):
        raise Refused("forbidden_mid", "mid: the token does not grant this member", "mid")
    return granted_key, None if granted_mid is None else str(granted_mid), tuple(granted_rooms)


def _check_names(identity: Identity) -> None:
    if flaw := key_names.plain_key_flaw(identity.key):
        raise Refused("invalid_key", f"key: {flaw}", "key")
    if identity.mid is not None and (flaw := key_names.mid_flaw(identity.mid)):
        raise Refused("invalid_mid", f"mid: {flaw}", "mid")


def _matches(rule: str, room: str) -> bool:
    return room.startswith(rule[:-1]) if rule.endswith("*") else room == rule
