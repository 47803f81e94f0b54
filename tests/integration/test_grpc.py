"""An im-cloud job node, which knows nothing of our fields, can use a cloudpush node."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from proto import cloud_pb2, cloud_pb2_grpc
from tests.integration.conftest import Connect
from tests.integration.im_wire import JobNode, message, proto
from tests.parts import journal
from tests.parts.fleet import Fleet
from tests.parts.stream import push

pytestmark = pytest.mark.services

Name = Callable[[str], str]


@pytest.fixture
def job(fleet: Fleet) -> Iterator[JobNode]:
    """An im-cloud job node that talks to the first node."""
    with JobNode(fleet.nodes[0].grpc) as node:
        yield node


def test_it_pushes_to_keys(fleet: Fleet, connect: Connect, name: Name, job: JobNode) -> None:
    one, two = [connect(fleet.nodes[0], key=name(f"k{number}")) for number in range(2)]
    job.push([name("k0"), name("k1"), name("gone")], '{"hi":"你好"}'.encode(), op=1001)
    assert one.next_push() == {"op": 1001, "msg": {"hi": "你好"}, "key": name("k0"), "push_id": ""}
    assert two.next_push()["key"] == name("k1")


def test_the_op_of_the_proto_counts_where_protoop_is_absent(
    fleet: Fleet, connect: Connect, name: Name, job: JobNode
) -> None:
    session = connect(fleet.nodes[0], key=name("k"))
    job.call("PushMsg", message("PushMsgReq", keys=[name("k")], proto=proto(b"1", op=7)), "PushMsgReply")
    assert session.next_push()["op"] == 7


def test_the_same_push_twice_is_two_pushes_without_a_push_id(
    fleet: Fleet, connect: Connect, name: Name, job: JobNode
) -> None:
    session = connect(fleet.nodes[0], key=name("k"))
    for _ in range(2):
        job.push([name("k")], b"1")
    assert [session.next_msg(), session.next_msg()] == [1, 1]


def test_a_push_id_makes_the_second_a_duplicate_and_an_expiry_ends_it(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    session = connect(fleet.nodes[0], key=name("k"))
    wanted = cloud_pb2.Proto(ver=1, op=9, body=b"1")
    with grpc.insecure_channel(fleet.nodes[0].grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]

        def outcomes(**fields: Any) -> tuple[list[int], list[int]]:
            request = cloud_pb2.PushMsgReq(keys=[name("k"), name("gone")], proto=wanted, **fields)
            reply = stub.PushMsg(request, timeout=5)
            return list(reply.outcomes), list(reply.sessions)

        assert outcomes(push_id="p") == ([cloud_pb2.OUTCOME_DELIVERED, cloud_pb2.OUTCOME_NO_SESSION], [1, 0])
        assert outcomes(push_id="p") == ([cloud_pb2.OUTCOME_DUPLICATE, cloud_pb2.OUTCOME_NO_SESSION], [0, 0])
        assert outcomes(expires_ms=1) == ([cloud_pb2.OUTCOME_EXPIRED] * 2, [0, 0])
        assert outcomes(push_id="q") == ([cloud_pb2.OUTCOME_DELIVERED, cloud_pb2.OUTCOME_NO_SESSION], [1, 0])
    assert [session.next_push()["push_id"], session.next_push()["push_id"]] == ["p", "q"]


def test_a_batch_stream_delivers_what_single_calls_deliver(fleet: Fleet, connect: Connect, name: Name) -> None:
    session = connect(fleet.nodes[0], key=name("k"), accepts=[9])
    batches = [
        cloud_pb2.PushBatch(
            seq=1,
            pushes=[
                push("p", name("k"), name("gone"), body=b'{"a":1}'),
                push("q", name("k"), body=b"{nope"),
                push("r", name("k"), expires_ms=1),
                push("s", name("k"), protoOp=7),
            ],
        ),
        cloud_pb2.PushBatch(seq=2, pushes=[push("p", name("k")), push("t", name("k"), body=b"2")]),
    ]
    with grpc.insecure_channel(fleet.nodes[0].grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        first, second = stub.PushStream(iter(batches), timeout=5)
    outcomes = [[cloud_pb2.Outcome.Name(it) for it in reply.outcomes] for reply in (*first.replies, *second.replies)]
    assert outcomes == [
        ["OUTCOME_DELIVERED", "OUTCOME_NO_SESSION"],
        [],
        ["OUTCOME_EXPIRED"],
        ["OUTCOME_FILTERED"],
        ["OUTCOME_DUPLICATE"],
        ["OUTCOME_DELIVERED"],
    ]
    assert first.replies[1].error.startswith("proto.body is not JSON")
    assert (first.seq, second.seq) == (1, 2)
    assert session.next_push() == {"op": 9, "msg": {"a": 1}, "key": name("k"), "push_id": "p"}
    assert session.next_push() == {"op": 9, "msg": 2, "key": name("k"), "push_id": "t"}
    assert session.pushes_so_far() == []


def test_it_broadcasts_to_a_room_and_to_all_of_this_node(
    fleet: Fleet, connect: Connect, name: Name, job: JobNode
) -> None:
    inside = connect(fleet.nodes[0], rooms=[name("r")])
    outside = connect(fleet.nodes[0])
    elsewhere = connect(fleet.nodes[1], rooms=[name("r")])
    job.call("BroadcastRoom", message("BroadcastRoomReq", roomID=name("r"), proto=proto(b'"room"')), "Empty")
    job.call("Broadcast", message("BroadcastReq", protoOp=5, proto=proto(b'"all"'), speed=10), "BroadcastReply")
    assert [inside.next_msg(), inside.next_msg()] == ["room", "all"]
    assert (outside.next_push()["op"], elsewhere.pushes_so_far()) == (5, [])


def test_rooms_lists_the_rooms_of_this_node(fleet: Fleet, connect: Connect, name: Name, job: JobNode) -> None:
    connect(fleet.nodes[0], rooms=[name("here")])
    connect(fleet.nodes[1], rooms=[name("there")])
    rooms = job.call("Rooms", message("RoomsReq"), "RoomsReply").rooms
    assert {entry.key: entry.value for entry in rooms if name("") in entry.key} == {name("here"): True}


def test_ping_answers(job: JobNode) -> None:
    assert job.call("Ping", message("Empty"), "Empty").SerializeToString() == b""


@pytest.mark.parametrize(
    ("method", "request_name", "fields", "reason"),
    [
        ("PushMsg", "PushMsgReq", {"proto": proto(b"1")}, "no keys"),
        ("PushMsg", "PushMsgReq", {"keys": ["k"]}, "no proto"),
        ("PushMsg", "PushMsgReq", {"keys": ["k"], "proto": proto(b"{nope")}, "proto.body is not JSON"),
        ("PushMsg", "PushMsgReq", {"keys": ["k"], "proto": proto(b"")}, "proto.body is not JSON"),
        ("PushMsg", "PushMsgReq", {"keys": ["k"], "proto": proto(b'"\xff"')}, "proto.body is not JSON"),
        ("PushMsg", "PushMsgReq", {"keys": ["k"] * 10_001, "proto": proto(b"1")}, "more than 10000 keys"),
        ("BroadcastRoom", "BroadcastRoomReq", {"proto": proto(b"1")}, "no roomID"),
        ("BroadcastRoom", "BroadcastRoomReq", {"roomID": "r"}, "no proto"),
        ("Broadcast", "BroadcastReq", {}, "no proto"),
    ],
)
def test_what_cannot_be_delivered_is_refused_and_logged_as_an_error(
    fleet: Fleet, job: JobNode, method: str, request_name: str, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        job.call(method, message(request_name, **fields), "Empty")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = refused.value.details()
    assert details.startswith(reason)
    node = fleet.nodes[0].process
    line = journal.until_line(node, event="refused a gRPC request", level="error", reason=details)
    assert line["peer"].startswith("ipv4:127.0.0.1")


@pytest.mark.parametrize("service", ["", "im.cloud.Cloud"])
def test_the_standard_health_check_says_serving(job: JobNode, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(job.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_our_service(job: JobNode) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(job.channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(asked, timeout=5)
    services = {service.name for service in answer.list_services_response.service}
    assert services >= {"im.cloud.Cloud", "grpc.health.v1.Health"}


def test_a_body_reaches_the_session_as_the_bytes_that_were_sent(
    fleet: Fleet, connect: Connect, name: Name, job: JobNode
) -> None:
    session = connect(fleet.nodes[0], key=name("k"))
    body = b' { "a" : [1.50, 18446744073709551615] , "a\\u0062" : "\xe2\x80\xa8" } '
    job.push([name("k")], body)
    assert session.next_msg() == json.loads(body)
