"""A push as it travels: frozen types, and their forms on the broker (a dict of JSON values) and on gRPC.

Refuses to validate what a caller sent (app/requests.py does) and to do I/O.
Decoders accept what an older or newer release sends: unknown fields are ignored, missing ones have defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self

from proto import cloud_pb2
from proto.queues import Priority

RAW_OP = 9
# In a payload only where they say something.
_SELDOM = ("durable", "not_before_ms", "recorded", "request_id", "claim", "speed")
_COMMON = frozenset({"v", "push_id", "keys", "op", "body", "priority", "accepted_ms", "expires_ms"})
_32_BITS, _64_BITS = 1 << 31, 1 << 63  # signed: one more than the greatest
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)


class Outcome(IntEnum):
    """What one node did with one key; values are those of ``im.cloud.Outcome``."""

    DELIVERED = 1
    NO_SESSION = 2
    FILTERED = 3
    EXPIRED = 4
    SLOW = 5
    DUPLICATE = 6
    QUEUED = 7
    BUSY = 8


class Fate(StrEnum):
    """How a push ended for one key.  Every push ends with one of these for each of its keys."""

    DELIVERED = "delivered"  # handed to at least one session
    QUEUED = "queued"  # a node hands it over by and by: from the inbox, or at the push's speed
    OFFLINE = "offline"  # no session anywhere answers to the key; a durable push waits in its inbox
    FILTERED = "filtered"  # sessions exist, none accepts the op
    EXPIRED = "expired"  # its ttl_s ran out first
    SLOW = "slow"  # its sessions were too far behind and were closed
    FAILED = "failed"  # given up, and dead-lettered with the reason
    CANCELLED = "cancelled"  # somebody took it back in time


class Message(NamedTuple):  # as cheap as a frozen type gets: a node makes one for each push
    """What a session receives: *op* says what it is, *body* is UTF-8 JSON."""

    op: int
    body: bytes


class Place(NamedTuple):
    """Where a durable message stands in its key's inbox.  Offsets are contiguous within an epoch."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Push:
    """One accepted call: one message, addressed to keys.

    Times are Unix milliseconds; ``expires_ms`` 0 means never.  ``attempt`` counts dispatches that ended in a
    retry; ``done`` then names, for each key left, the nodes that already have the push.

    ``places`` says where in its inbox each key's message is; a *durable* push without them is yet to be appended, when
    ``not_before_ms`` has come.  ``recorded``: it has a receipt.  ``claim`` names, with a ``request_id``, the one task
    of the push that may be dispatched (store/requests.py).  ``speed``: at most so many sessions of a node get it in any
    second; 0: all at once.
    """

    push_id: str
    keys: tuple[str, ...]
    message: Message
    priority: Priority = Priority.NORMAL
    server: str | None = None
    accepted_ms: int = 0
    expires_ms: int = 0
    attempt: int = 0
    done: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    durable: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)
    not_before_ms: int = 0
    recorded: bool = False
    request_id: str | None = None
    claim: str = ""
    speed: int = 0

    def expired(self, now_ms: int) -> bool:
        """Tell whether its time to live is over at *now_ms*."""
        return bool(self.expires_ms) and now_ms >= self.expires_ms

    def narrowed(self, keys: Sequence[str], done: Mapping[str, tuple[str, ...]]) -> Self:
        """Give the same push for the next attempt, addressed only to *keys*."""
        return replace(self.only(keys), done=dict(done), attempt=self.attempt + 1)

    def only(self, keys: Sequence[str]) -> Self:
        """Give the same push, addressed only to *keys*."""
        places = {key: self.places[key] for key in keys} if self.places else self.places
        return replace(self, keys=tuple(keys), places=places)

    def to_payload(self) -> dict[str, Any]:
        """Give the task's argument: JSON values only."""
        payload: dict[str, Any] = {
            "v": 1,
            "push_id": self.push_id,
            "keys": list(self.keys),
            "op": self.message.op,
            "body": self.message.body.decode(),
            "priority": self.priority.value,
            "accepted_ms": self.accepted_ms,
            "expires_ms": self.expires_ms,
        }
        if self.server is not None:
            payload["server"] = self.server
        if self.attempt:
            payload["attempt"] = self.attempt
            payload["done"] = {key: list(nodes) for key, nodes in self.done.items()}
        payload |= {name: value for name in _SELDOM if (value := getattr(self, name))}
        if self.places:
            payload["places"] = {key: list(place) for key, place in self.places.items()}
        return payload

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Read a task's argument; raises ValueError naming what is wrong with it."""
        try:
            push = cls(
                push_id=_text(payload["push_id"]),
                keys=_texts(payload["keys"]),
                message=Message(_integer(payload["op"], _32_BITS), _text(payload["body"]).encode()),
                priority=Priority(payload.get("priority", Priority.NORMAL)),
                accepted_ms=_integer(payload.get("accepted_ms", 0), _64_BITS),
                expires_ms=_integer(payload.get("expires_ms", 0), _64_BITS),
                **({} if payload.keys() <= _COMMON else _seldom(payload)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"malformed push payload: {error!r}") from error
        if not push.keys:
            raise ValueError("malformed push payload: no keys")
        if push.places and not all(key in push.places for key in push.keys):
            raise ValueError("malformed push payload: a key without its place")
        return push

    def to_request(self, keys: Sequence[str]) -> cloud_pb2.PushMsgReq:
        """Give the gRPC request that asks a node to deliver this push to *keys*."""
        return cloud_pb2.PushMsgReq(
            keys=keys,
            proto=cloud_pb2.Proto(ver=1, op=self.message.op, body=self.message.body),
            protoOp=self.message.op,
            push_id=self.push_id,
            expires_ms=self.expires_ms,
            places=[cloud_pb2.Place(epoch=epoch, offset=offset) for epoch, offset in (self.places[key] for key in keys)]
            if self.places
            else (),
            recorded=self.recorded,
            speed=self.speed,
        )


class KeyOutcome(NamedTuple):
    """A node's answer for one key."""

    outcome: Outcome
    sessions: int = 0


def outcomes_from_reply(keys: Sequence[str], reply: cloud_pb2.PushMsgReply) -> dict[str, KeyOutcome]:
    """Pair a node's reply with the keys it was asked for.

    A node of the original im-cloud answers without outcomes; it is taken at its word: delivered.
    Raises ValueError when the reply is an error, speaks of another number of keys, or of an unknown outcome.
    """
    if reply.error:
        raise ValueError(reply.error)
    if not reply.outcomes:
        return {key: KeyOutcome(Outcome.DELIVERED, 0) for key in keys}
    if len(reply.outcomes) != len(keys):
        raise ValueError(f"{len(reply.outcomes)} outcomes for {len(keys)} keys")
    counts = reply.sessions or [0] * len(keys)
    return {key: _answer(*pair) for key, *pair in zip(keys, reply.outcomes, counts, strict=True)}


@lru_cache(1024)
def _answer(outcome: int, sessions: int) -> KeyOutcome:
    """Few answers there are, each given again and again."""
    return KeyOutcome(Outcome(outcome), sessions)


def reply_from_outcomes(keys: Sequence[str], outcomes: Mapping[str, KeyOutcome]) -> cloud_pb2.PushMsgReply:
    """Put *outcomes* on the wire, in the order of *keys*."""
    return cloud_pb2.PushMsgReply(
        outcomes=[outcomes[key].outcome.value for key in keys],  # type: ignore[misc]
        sessions=[outcomes[key].sessions for key in keys],
    )


def new_push_id(now_ms: int, randomness: bytes) -> str:
    """Make a push id: a ULID, 26 characters that sort by time.

    *randomness* is 10 bytes.  Source: the ULID specification (github.com/ulid/spec).
    """
    number = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(randomness[:10])
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def _seldom(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Read what most pushes do without."""
    return {
        "server": None if payload.get("server") is None else _text(payload["server"]),
        "attempt": _integer(payload.get("attempt", 0), _32_BITS),
        "done": {key: _texts(nodes) for key, nodes in payload.get("done", {}).items()},
        "durable": bool(payload.get("durable", False)),
        "places": {key: _place(place) for key, place in payload.get("places", {}).items()},
        "not_before_ms": _integer(payload.get("not_before_ms", 0), _64_BITS),
        "recorded": bool(payload.get("recorded", False)),
        "request_id": None if payload.get("request_id") is None else _text(payload["request_id"]),
        "claim": _text(payload.get("claim", "")),
        "speed": _integer(payload.get("speed", 0), _32_BITS),
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    if not value.isascii():
        value.encode()  # half a surrogate pair would fail only when it is sent
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):  # a bare text would pass for a list of its letters
        raise TypeError(f"a list expected, not {type(value).__name__}")
    return tuple([_text(item) for item in value])


def _place(value: Any) -> Place:
    epoch, offset = value
    return Place(_text(epoch), _integer(offset, _64_BITS))


def _integer(value: Any, end: int) -> int:
    if not isinstance(value, int) or not -end <= value < end:
        raise TypeError(f"an integer of {end.bit_length()} bits expected")
    return value
