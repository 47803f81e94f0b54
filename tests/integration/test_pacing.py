"""Broadcasts with a speed, from REST to sessions of a real node: its own clock says when each of them had its turn."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import requests

from proto import cloud_pb2, cloud_pb2_grpc
from tests.integration.conftest import Connect
from tests.integration.sending import CALL_S, fates, push
from tests.parts import journal
from tests.parts.clients import Client
from tests.parts.fleet import Fleet, Node
from tests.parts.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

_MOST = 2
_OVER = "a paced broadcast is over"
_ROUNDING_S = 1e-6
_LONG_S = 15.0


@pytest.fixture(scope="module")
def fleet(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One node that holds few paced broadcasts and tells of each slice."""
    home = tmp_path_factory.mktemp("paced")
    settings = {
        "CLOUDPUSH_SETTLE_S": "0",
        "CLOUDPUSH_MAX_PACED": str(_MOST),
        "CLOUDPUSH_LOG_LEVEL": "DEBUG",
        "CLOUDPUSH_DRAIN_S": "1",
    }
    fleet = Fleet(home, private_rabbitmq.add_vhost(home.name), redis, count=1, settings=settings)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def node(fleet: Fleet) -> Node:
    return fleet.nodes[0]


@pytest.fixture
def crowd(connect: Connect, node: Node) -> Callable[[int], list[Client]]:
    """Sessions in the order in which they came."""
    return lambda count: [connect(node) for _ in range(count)]


@pytest.fixture(autouse=True)
def quiet(node: Node) -> Iterator[None]:
    """No test leaves a broadcast under way to the next."""
    yield
    node.process.until(lambda: _paced(node) == 0, _LONG_S, "the end of what is under way")


def _paced(node: Node) -> float:
    text = requests.get(f"{node.url}/metrics", timeout=CALL_S).text
    (line,) = (line for line in text.splitlines() if line.startswith("cloudpush_node_paced "))
    return float(line.split()[1])


def _over(node: Node, push_id: str) -> dict[str, Any]:
    if node.process.running:
        node.process.until(lambda: bool(journal.lines(node.process, event=_OVER, push_id=push_id)), _LONG_S, "its end")
    (line,) = journal.lines(node.process, event=_OVER, push_id=push_id)
    return line


def _turns(node: Node, push_id: str) -> list[float]:
    """When each session had its turn, by the node's clock."""
    slices = journal.lines(node.process, event="handed to a slice", push_id=push_id)
    return [line["at_s"] for line in slices for _ in range(line["sessions"])]


def _most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for at in times if begin <= at < begin + 1 - _ROUNDING_S) for begin in times)


def _ids(session: Client) -> list[str]:
    return [it["push_id"] for it in session.pushes_so_far()]


def test_no_second_has_more_sessions_than_the_speed_and_each_gets_it_once(
    fleet: Fleet, node: Node, crowd: Callable[[int], list[Client]]
) -> None:
    sessions = crowd(20)
    push_id = push(fleet, all=True, speed=8, trace=True)
    assert fates(fleet, push_id)["queued"] == 1
    assert {line: _over(node, push_id)[line] for line in ("end", "sessions", "left", "missed")} == {
        "end": "done",
        "sessions": 20,
        "left": 0,
        "missed": 0,
    }
    turns = _turns(node, push_id)
    assert len(turns) == 20
    assert _most_in_a_second(turns) <= 8
    last = push(fleet, "last", all=True)
    for session in sessions:
        assert [session.next_push()["push_id"] for _ in range(2)] == [push_id, last]
        assert _ids(session) == []


def test_the_receipt_of_a_traced_one_counts_all_who_got_it(
    fleet: Fleet, node: Node, crowd: Callable[[int], list[Client]]
) -> None:
    crowd(4)
    push_id = push(fleet, all=True, speed=4, trace=True)
    _over(node, push_id)

    def receipt() -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"{fleet.url}/v1/pushes/{push_id}", timeout=CALL_S).json()["keys"]["all"]
        return answer

    node.process.until(lambda: receipt().get("sessions") == 4, _LONG_S, "a receipt of 4 sessions")
    assert receipt()["state"] in ("emitted", "acked")


def test_who_accepts_other_ops_and_who_comes_later_are_passed_by(
    fleet: Fleet, node: Node, connect: Connect, crowd: Callable[[int], list[Client]]
) -> None:
    others = connect(node, accepts=[1])
    first, second = crowd(2)
    push_id = push(fleet, all=True, speed=1)
    assert first.next_push()["push_id"] == push_id
    late = connect(node)
    assert second.next_push()["push_id"] == push_id
    assert _over(node, push_id)["sessions"] == 2
    assert (_ids(others), _ids(late)) == ([], [])


def test_it_ends_when_its_time_is_over(fleet: Fleet, node: Node, crowd: Callable[[int], list[Client]]) -> None:
    sessions = crowd(6)
    push_id = push(fleet, all=True, speed=2, ttl_s=1)
    over = _over(node, push_id)
    assert over["end"] == "expired"
    assert over["sessions"] + over["left"] == 6
    assert over["left"] > 0
    assert [_ids(session) for session in sessions[over["sessions"] :]] == [[]] * over["left"]


def test_one_too_many_waits_at_the_worker_until_there_is_room(
    fleet: Fleet, node: Node, crowd: Callable[[int], list[Client]]
) -> None:
    sessions = crowd(3)
    ids = [push(fleet, all=True, speed=1) for _ in range(_MOST + 1)]
    for session in sessions:
        assert {session.next_push(_LONG_S)["push_id"] for _ in ids} == set(ids)
    assert [_over(node, push_id)["end"] for push_id in ids] == ["done"] * 3
    turns = [_turns(node, push_id) for push_id in ids]
    assert max(begun for begun, *_ in turns) >= min(done for *_, done in turns)


def test_im_clouds_broadcast_is_paced_and_refused_for_now_when_there_is_no_room(
    fleet: Fleet, node: Node, crowd: Callable[[int], list[Client]]
) -> None:
    first, second = crowd(2)
    proto = cloud_pb2.Proto(ver=1, op=9, body=b"1")
    with grpc.insecure_channel(node.grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        for number in range(_MOST):
            broadcast = cloud_pb2.BroadcastReq(proto=proto, speed=1, push_id=f"b{number}")
            assert stub.Broadcast(broadcast, timeout=CALL_S).sessions == 1
        again = stub.PushMsg(cloud_pb2.PushMsgReq(keys=["all"], proto=proto, speed=1, push_id="b0"), timeout=CALL_S)
        assert list(again.outcomes) == [cloud_pb2.OUTCOME_DUPLICATE]
        other = cloud_pb2.PushMsgReq(keys=["all"], proto=proto, speed=1, push_id="b2")
        assert list(stub.PushMsg(other, timeout=CALL_S).outcomes) == [cloud_pb2.OUTCOME_BUSY]
        with pytest.raises(grpc.RpcError) as refused:
            stub.Broadcast(cloud_pb2.BroadcastReq(proto=proto, speed=1, push_id="b3"), timeout=CALL_S)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [_over(node, f"b{number}")["sessions"] for number in range(_MOST)] == [2, 2]
    for session in (first, second):
        assert {session.next_push()["push_id"] for _ in range(_MOST)} == {"b0", "b1"}
        assert _ids(session) == []


def test_a_node_that_is_stopped_says_how_many_its_broadcasts_did_not_reach(fleet: Fleet, connect: Connect) -> None:
    node = fleet.start_node()
    for _ in range(6):
        connect(node)
    push_id = push(fleet, all=True, speed=1, server=node.grpc)
    journal.until_line(node.process, event="handed to a slice", push_id=push_id)
    node.process.terminate()
    over = _over(node, push_id)
    assert over["end"] == "stopped"
    assert over["sessions"] + over["left"] + over["missed"] == 6
    assert over["sessions"] < 6
    assert journal.lines(node.process, event="drained", sessions=0)
