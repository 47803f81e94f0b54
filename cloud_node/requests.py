"""What a caller asks for → a Delivery, or the reason why not.  Pure; every refusal is named here.

Runs on gRPC's thread, so that the hub never parses what a caller sent.
"""

from typing import Any

import orjson

from cloud_node.delivery import Delivery
from proto import cloud_pb2
from proto.message import Message

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
    return Delivery(keys, _message(request, request.protoOp), request.push_id, request.expires_ms)


def to_one_key(request: Any, key: str, op: int = 0) -> Delivery:
    """Read a request of im-cloud's that addresses *key* by its kind; raises Refused."""
    return Delivery((key,), _message(request, op), request.push_id)


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
