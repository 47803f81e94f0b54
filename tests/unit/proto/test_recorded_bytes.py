"""Bytes of this release, recorded: another field number, type or order is another wire, and breaks these."""

import pytest
from google.protobuf.message import Message as Protobuf

from proto import cloud_pb2
from proto.message import KeyOutcome, Message, Outcome, Push, outcomes_from_reply, reply_from_outcomes
from proto.queues import Priority

_PUSH = Push(
    "01ARYZ6S410000000000000000",
    ("alice", "room:live://1"),
    Message(1000, b'{"a":1}'),
    priority=Priority.HIGH,
    server="10.0.0.1:9500",
    accepted_ms=1700000000000,
    expires_ms=1700000060000,
)
_REQUEST = (
    "0a05616c696365"  # 1 keys
    "0a0d726f6f6d3a6c6976653a2f2f31"
    "120e080110e80722077b2261223a317d"  # 2 proto: 1 ver, 2 op, 4 body
    "18e807"  # 3 protoOp
    "521a30314152595a3653343130303030303030303030303030303030"  # 10 push_id
    "58e0a499ffbc31"  # 11 expires_ms
)
_REPLY = "520201025a020300"  # 10 outcomes, 11 sessions, both packed
"""delivered to 3, no session"""


def test_a_request() -> None:
    assert _PUSH.to_request(_PUSH.keys).SerializeToString(deterministic=True).hex() == _REQUEST
    read = cloud_pb2.PushMsgReq.FromString(bytes.fromhex(_REQUEST))
    assert (list(read.keys), read.proto.op, read.expires_ms) == ([*_PUSH.keys], 1000, 1700000060000)


def test_a_reply() -> None:
    outcomes = {"a": KeyOutcome(Outcome.DELIVERED, 3), "b": KeyOutcome(Outcome.NO_SESSION)}
    assert reply_from_outcomes(["a", "b"], outcomes).SerializeToString(deterministic=True).hex() == _REPLY
    assert outcomes_from_reply(["a", "b"], cloud_pb2.PushMsgReply.FromString(bytes.fromhex(_REPLY))) == outcomes


def test_a_tasks_payload() -> None:
    recorded = {
        "v": 1,
        "push_id": "01ARYZ6S410000000000000000",
        "keys": ["alice", "room:live://1"],
        "op": 1000,
        "body": '{"a":1}',
        "priority": "high",
        "accepted_ms": 1700000000000,
        "expires_ms": 1700000060000,
        "server": "10.0.0.1:9500",
    }
    assert _PUSH.to_payload() == recorded
    assert Push.from_payload(recorded) == _PUSH


def test_a_later_attempts_payload() -> None:
    payload = _PUSH.narrowed(["alice"], {"alice": ("10.0.0.1:9500#ab",)}).to_payload()
    assert {name: payload[name] for name in ("keys", "attempt", "done")} == {
        "keys": ["alice"],
        "attempt": 1,
        "done": {"alice": ["10.0.0.1:9500#ab"]},
    }


@pytest.mark.parametrize(
    ("message", "recorded"),
    [
        (cloud_pb2.Proto(ver=1, op=9, seq=3, body=b"null"), "0801100918032204" + b"null".hex()),
        (cloud_pb2.BroadcastReq(protoOp=9, proto=cloud_pb2.Proto(op=9), speed=100), "0809120210091864"),
        (cloud_pb2.BroadcastRoomReq(roomID="r", proto=cloud_pb2.Proto(op=9)), "0a017212021009"),
        (cloud_pb2.PushMsgReq(keys=["a"], speed=100), "0a01617064"),
        (cloud_pb2.RoomsReply(rooms={"r": True}), "0a050a01721001"),
        (cloud_pb2.DisconnectReq(keys=["a"]), "0a0161"),
        (cloud_pb2.DisconnectReply(sessions=2), "0802"),
        (cloud_pb2.PushMsgReply(error="e"), "620165"),
        (cloud_pb2.PushBatch(seq=1, pushes=[cloud_pb2.PushMsgReq(keys=["a"])]), "080112030a0161"),
        (
            cloud_pb2.PushBatchReply(seq=1, replies=[cloud_pb2.PushMsgReply()], end=cloud_pb2.BATCH_BUSY, error="e"),
            "080112001801220165",
        ),
        (cloud_pb2.BroadcastReply(sessions=2), "5002"),
        (cloud_pb2.BroadcastRoomReply(sessions=2), "5002"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Protobuf) else "",
)
def test_im_clouds_field_numbers_and_ours(message: Protobuf, recorded: str) -> None:
    assert message.SerializeToString(deterministic=True).hex() == recorded


def test_the_service_is_im_clouds() -> None:
    service = cloud_pb2.DESCRIPTOR.services_by_name["Cloud"]
    assert service.full_name == "im.cloud.Cloud"
    assert [method.name for method in service.methods] == [
        "Ping",
        "PushMsg",
        "PushStream",
        "Broadcast",
        "BroadcastRoom",
        "Rooms",
        "Disconnect",
    ]


def test_names_on_the_broker() -> None:
    assert [priority.queue for priority in Priority] == ["cloudpush.high", "cloudpush.normal", "cloudpush.bulk"]
