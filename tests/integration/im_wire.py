"""im-cloud's gRPC as its own callers have it: messages made at run time from im-cloud's field numbers alone.

Refuses to know proto/cloud.proto: what is ours there does not exist here.
"""

from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE

_PROTO = ("proto", 2, _MESSAGE, "Proto")
_MESSAGES: dict[str, tuple[tuple[Any, ...], ...]] = {
    "Empty": (),
    "Proto": (("ver", 1, _INT32), ("op", 2, _INT32), ("seq", 3, _INT32), ("body", 4, _BYTES)),
    "PushMsgReq": (("keys", 1, _STRING, "*"), _PROTO, ("protoOp", 3, _INT32)),
    "PushMsgReply": (),
    "BroadcastReq": (("protoOp", 1, _INT32), _PROTO, ("speed", 3, _INT32)),
    "BroadcastReply": (),
    "BroadcastRoomReq": (("roomID", 1, _STRING), _PROTO),
    "BroadcastRoomReply": (),
    "RoomsReq": (),
    "RoomsEntry": (("key", 1, _STRING), ("value", 2, _BOOL)),
    "RoomsReply": (("rooms", 1, _MESSAGE, "RoomsEntry", "*"),),
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(name="im_cloud.proto", package="im.cloud", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = made.message_type.add(name=name)
        for field_name, number, kind, *more in fields:
            label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            if "*" in more:
                label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
            field = message.field.add(name=field_name, number=number, type=kind, label=label)
            if kind == _MESSAGE:
                field.type_name = f".im.cloud.{more[0]}"
    return made


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str, **fields: Any) -> Any:
    """Make a message of im-cloud's."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"im.cloud.{name}"))(**fields)


def proto(body: bytes, op: int = 9) -> Any:
    """Make the `Proto` that carries a message."""
    return message("Proto", ver=1, op=op, seq=1, body=body)


class JobNode:
    """An im-cloud job node: calls one cloud node."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self._channel = grpc.insecure_channel(address)
        self._metadata = None if token is None else (("authorization", token),)

    def call(self, method: str, request: Any, reply: str) -> Any:
        """Call a method of im.cloud.Cloud; raises grpc.RpcError."""
        call = self._channel.unary_unary(
            f"/im.cloud.Cloud/{method}",
            request_serializer=lambda it: it.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(
                _POOL.FindMessageTypeByName(f"im.cloud.{reply}")
            ).FromString,
        )
        return call(request, timeout=5, metadata=self._metadata)

    def push(self, keys: list[str], body: bytes, op: int = 9) -> Any:
        """Call PushMsg as im-cloud does."""
        request = message("PushMsgReq", keys=keys, protoOp=op, proto=proto(body, op))
        return self.call("PushMsg", request, "PushMsgReply")

    @property
    def channel(self) -> Any:
        """The channel, for standard services."""
        return self._channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
