"""What a caller's request asks of a node, of its speed; integration/test_grpc.py has the refusals of both releases."""

import pytest

from cloud_node.requests import Refused, from_push, to_one_key
from proto import cloud_pb2

_PROTO = cloud_pb2.Proto(ver=1, op=9, body=b"1")


@pytest.mark.parametrize(("asked", "speed"), [(0, 0), (5, 5), (-1, 0), (2**31 - 1, 2**31 - 1)])
def test_a_speed_below_1_is_none(asked: int, speed: int) -> None:
    assert from_push(cloud_pb2.PushMsgReq(keys=["all"], proto=_PROTO, speed=asked)).speed == speed
    broadcast = cloud_pb2.BroadcastReq(proto=_PROTO, speed=asked)
    assert to_one_key(broadcast, "all", 0, broadcast.speed).speed == speed


@pytest.mark.parametrize(
    "fields",
    [{"keys": ["all", "alice"]}, {"keys": ["all"], "places": [cloud_pb2.Place(epoch="e", offset=1)]}],
    ids=["two keys", "durable"],
)
def test_a_speed_where_it_cannot_be_kept_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Refused, match="a speed is for one key, without a place"):
        from_push(cloud_pb2.PushMsgReq(proto=_PROTO, speed=5, **fields))  # type: ignore[arg-type]
