"""What a caller asks for → a Delivery, or the reason why not.  Pure; every refusal is named here.

Runs on gRPC's thread, so that the hub never parses what a caller sent.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from cloud_node.delivery import Delivery
from proto import cloud_pb2
from proto.message import Message, Place

MAX_KEYS = 10_000


class Refused(Exception):
    """The request cannot be delivered, now or later; the text says why."""


def from_push(request: cloud_pb2.PushMsgReq) -> Delivery:
    """Read a PushMsgReq; raises Refused."""
    keys = tuple(request.keys)
    if not keys:
        raise Refused("no keys")
    if len(keys) > MAX_KEYS:
        raise Refused(f"more than {MAX_KEYS} keys")
    message = _message(request, request.protoOp)
    places = _places(request.places, keys) if request.places else ()
    speed = request.speed
    if speed and (places or len(keys) > 1):
        raise Refused("a speed is for one key, without a place")
    return Delivery(keys, message, request.push_id, request.expires_ms, places, request.recorded, max(0, speed))


def to_one_key(request: Any, key: str, op: int = 0, speed: int = 0) -> Delivery:
    """Read a request of im-cloud's that addresses *key* by its kind; raises Refused.  A *speed* below 1 is none."""
    return Delivery((key,), _message(request, op), request.push_id, speed=max(0, speed))


def _places(places: Sequence[cloud_pb2.Place], keys: Sequence[str]) -> tuple[Place, ...]:
    if len(places) != len(keys):
        raise Refused(f"{len(places)} places for {len(keys)} keys")
    if any(place.offset < 1 for place in places):
        raise Refused("a place whose offset is not positive")
    return tuple(Place(place.epoch, place.offset) for place in places)


def _message(request: Any, op: int) -> Message:
    if not request.HasField("proto"):
        raise Refused("no proto")
    proto = request.proto
    body = proto.body
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"proto.body is not JSON: {error}") from error
    return Message(op or proto.op, body)
