from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_DELIVERED: _ClassVar[Outcome]
    OUTCOME_NO_SESSION: _ClassVar[Outcome]
    OUTCOME_FILTERED: _ClassVar[Outcome]
    OUTCOME_EXPIRED: _ClassVar[Outcome]
    OUTCOME_SLOW: _ClassVar[Outcome]
    OUTCOME_DUPLICATE: _ClassVar[Outcome]
    OUTCOME_QUEUED: _ClassVar[Outcome]
    OUTCOME_BUSY: _ClassVar[Outcome]

class BatchEnd(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_DONE: _ClassVar[BatchEnd]
    BATCH_BUSY: _ClassVar[BatchEnd]
    BATCH_LATE: _ClassVar[BatchEnd]
    BATCH_INVALID: _ClassVar[BatchEnd]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_DELIVERED: Outcome
OUTCOME_NO_SESSION: Outcome
OUTCOME_FILTERED: Outcome
OUTCOME_EXPIRED: Outcome
OUTCOME_SLOW: Outcome
OUTCOME_DUPLICATE: Outcome
OUTCOME_QUEUED: Outcome
OUTCOME_BUSY: Outcome
BATCH_DONE: BatchEnd
BATCH_BUSY: BatchEnd
BATCH_LATE: BatchEnd
BATCH_INVALID: BatchEnd

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Proto(_message.Message):
    __slots__ = ("ver", "op", "seq", "body")
    VER_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ver: int
    op: int
    seq: int
    body: bytes
    def __init__(self, ver: _Optional[int] = ..., op: _Optional[int] = ..., seq: _Optional[int] = ..., body: _Optional[bytes] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("epoch", "offset")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    offset: int
    def __init__(self, epoch: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class PushMsgReq(_message.Message):
    __slots__ = ("keys", "proto", "protoOp", "push_id", "expires_ms", "places", "recorded", "speed")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    PROTOOP_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    proto: Proto
    protoOp: int
    push_id: str
    expires_ms: int
    places: _containers.RepeatedCompositeFieldContainer[Place]
    recorded: bool
    speed: int
    def __init__(self, keys: _Optional[_Iterable[str]] = ..., proto: _Optional[_Union[Proto, _Mapping]] = ..., protoOp: _Optional[int] = ..., push_id: _Optional[str] = ..., expires_ms: _Optional[int] = ..., places: _Optional[_Iterable[_Union[Place, _Mapping]]] = ..., recorded: _Optional[bool] = ..., speed: _Optional[int] = ...) -> None: ...

class PushMsgReply(_message.Message):
    __slots__ = ("outcomes", "sessions", "error")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedScalarFieldContainer[Outcome]
    sessions: _containers.RepeatedScalarFieldContainer[int]
    error: str
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, str]]] = ..., sessions: _Optional[_Iterable[int]] = ..., error: _Optional[str] = ...) -> None: ...

class PushBatch(_message.Message):
    __slots__ = ("seq", "pushes")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PUSHES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    pushes: _containers.RepeatedCompositeFieldContainer[PushMsgReq]
    def __init__(self, seq: _Optional[int] = ..., pushes: _Optional[_Iterable[_Union[PushMsgReq, _Mapping]]] = ...) -> None: ...

class PushBatchReply(_message.Message):
    __slots__ = ("seq", "replies", "end", "error")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    seq: int
    replies: _containers.RepeatedCompositeFieldContainer[PushMsgReply]
    end: BatchEnd
    error: str
    def __init__(self, seq: _Optional[int] = ..., replies: _Optional[_Iterable[_Union[PushMsgReply, _Mapping]]] = ..., end: _Optional[_Union[BatchEnd, str]] = ..., error: _Optional[str] = ...) -> None: ...

class BroadcastReq(_message.Message):
    __slots__ = ("protoOp", "proto", "speed", "push_id")
    PROTOOP_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    protoOp: int
    proto: Proto
    speed: int
    push_id: str
    def __init__(self, protoOp: _Optional[int] = ..., proto: _Optional[_Union[Proto, _Mapping]] = ..., speed: _Optional[int] = ..., push_id: _Optional[str] = ...) -> None: ...

class BroadcastReply(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    def __init__(self, sessions: _Optional[int] = ...) -> None: ...

class BroadcastRoomReq(_message.Message):
    __slots__ = ("roomID", "proto", "push_id")
    ROOMID_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    roomID: str
    proto: Proto
    push_id: str
    def __init__(self, roomID: _Optional[str] = ..., proto: _Optional[_Union[Proto, _Mapping]] = ..., push_id: _Optional[str] = ...) -> None: ...

class BroadcastRoomReply(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    def __init__(self, sessions: _Optional[int] = ...) -> None: ...

class RoomsReq(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RoomsReply(_message.Message):
    __slots__ = ("rooms",)
    class RoomsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    rooms: _containers.ScalarMap[str, bool]
    def __init__(self, rooms: _Optional[_Mapping[str, bool]] = ...) -> None: ...

class DisconnectReq(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...

class DisconnectReply(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    def __init__(self, sessions: _Optional[int] = ...) -> None: ...
