"""Single calls to nodes: every way in which a node can fail to answer is one of our errors, and in time."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest

from proto import cloud_pb2
from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from proto.message import KeyOutcome, Message, Outcome, Push, reply_from_outcomes
from tasks.dispatch import Plan
from tasks.nodes import Nodes
from tests.fakes.cloud_node import serving
from tests.parts.process import free_port

_PUSH = Push("01J0", ("a", "b"), Message(9, b"null"))


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _push(nodes: Nodes, plan: Plan, push: Push) -> dict[str, Mapping[str, KeyOutcome] | NodeError]:
    """Send one push; the answer of each node."""
    sends = {node: [(push, keys)] for node, keys in plan.sends.items()}
    return {node: answers[0] for node, answers in nodes.push_all(sends).items()}


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def nodes(clock: _Clock) -> Iterator[Nodes]:
    made = Nodes(deadline_s=5, token="t" * 16, clock=clock)
    yield made
    made.close()


@pytest.fixture
def impatient(clock: _Clock) -> Iterator[Nodes]:
    made = Nodes(deadline_s=0.4, token=None, clock=clock)
    yield made
    made.close()


def _delivers(request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
    keys = list(request.keys)
    return reply_from_outcomes(keys, dict.fromkeys(keys, KeyOutcome(Outcome.DELIVERED, 2)))


def _aborts(code: grpc.StatusCode) -> Callable[[cloud_pb2.PushMsgReq, Any], cloud_pb2.PushMsgReply]:
    def abort(_request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        context.abort(code, "the reason")
        raise AssertionError("abort raises")

    return abort


def _error(nodes: Nodes, node: str) -> NodeError:
    answer = _push(nodes, Plan({node: ("a",)}), _PUSH)[node]
    assert isinstance(answer, NodeError)
    assert answer.node == node
    return answer


def test_each_node_gets_its_keys_and_answers_for_them(nodes: Nodes) -> None:
    with serving(_delivers) as one, serving(_delivers) as other:
        sends = {f"{one.address}#aa": ("a", "b"), f"{other.address}#bb": ("b",)}
        assert _push(nodes, Plan(sends), _PUSH) == {
            node: dict.fromkeys(keys, KeyOutcome(Outcome.DELIVERED, 2)) for node, keys in sends.items()
        }
        assert [list(request.keys) for request in one.requests] == [["a", "b"]]
        assert one.metadata[0]["authorization"] == "Bearer " + "t" * 16


def test_disconnect_tells_how_many_each_node_ended(nodes: Nodes) -> None:
    gone = f"127.0.0.1:{free_port()}#gone"
    with serving(_delivers) as node:
        answers = nodes.disconnect(Plan({node.address: ("a", "b"), gone: ("a",)}))
    assert answers[node.address] == 2
    assert isinstance(answers[gone], NodeUnreachable)


def test_nobody_there_is_unreachable_at_once(nodes: Nodes) -> None:
    error = _error(nodes, f"127.0.0.1:{free_port()}#aa")
    assert isinstance(error, NodeUnreachable)
    assert error.retryable
    assert error.reason.startswith("UNAVAILABLE")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, NodeUnreachable),
        (grpc.StatusCode.CANCELLED, NodeUnreachable),
        (grpc.StatusCode.INTERNAL, NodeUnreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, NodeUnreachable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, NodeBusy),
        (grpc.StatusCode.INVALID_ARGUMENT, NodeRefused),
        (grpc.StatusCode.UNAUTHENTICATED, NodeRefused),
        (grpc.StatusCode.UNIMPLEMENTED, NodeRefused),
    ],
)
def test_a_status_is_one_of_our_errors(nodes: Nodes, code: grpc.StatusCode, kind: type[NodeError]) -> None:
    with serving(_aborts(code)) as node:
        assert type(_error(nodes, node.address)) is kind


def test_a_reply_without_outcomes_is_taken_as_delivered(nodes: Nodes) -> None:
    with serving(lambda _request, _context: cloud_pb2.PushMsgReply()) as node:
        assert _push(nodes, Plan({node.address: ("a",)}), _PUSH)[node.address] == {"a": KeyOutcome(Outcome.DELIVERED)}


def test_a_reply_for_other_keys_is_refused_for_good(nodes: Nodes) -> None:
    with serving(lambda _request, _context: cloud_pb2.PushMsgReply.FromString(b"\x52\x03\x01\x01\x01")) as node:
        error = _error(nodes, node.address)
    assert isinstance(error, NodeRefused)
    assert error.reason == "its reply makes no sense: 3 outcomes for 1 keys"


def test_a_hung_node_costs_one_deadline_then_none_and_is_asked_again_a_moment_later(
    impatient: Nodes, clock: _Clock
) -> None:
    let_go = threading.Event()

    def hangs(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        let_go.wait(10)
        return _delivers(request, context)

    with serving(hangs) as hung, serving(_delivers) as other:
        answers = _push(impatient, Plan({hung.address: ("a",), other.address: ("b",)}), _PUSH)
        assert isinstance(answers[hung.address], NodeUnreachable)
        assert answers[other.address] == {"b": KeyOutcome(Outcome.DELIVERED, 2)}

        # By address: the same process under another incarnation is as hung.
        assert _error(impatient, f"{hung.address}#bb").reason == "did not answer a moment ago"
        assert len(hung.requests) == 1

        let_go.set()
        clock.now += 1.1
        assert _push(impatient, Plan({hung.address: ("a",)}), _PUSH)[hung.address] == {
            "a": KeyOutcome(Outcome.DELIVERED, 2)
        }


def test_one_call_finds_out_about_a_hung_node_while_the_others_fail_at_once(impatient: Nodes, clock: _Clock) -> None:
    asked, let_go = threading.Semaphore(0), threading.Event()

    def hangs(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        asked.release()
        let_go.wait(10)
        return _delivers(request, context)

    with serving(hangs) as hung:
        assert isinstance(_error(impatient, hung.address), NodeUnreachable)
        assert asked.acquire(timeout=5)
        clock.now += 1.1
        finding_out = threading.Thread(target=lambda: _error(impatient, hung.address))
        finding_out.start()
        assert asked.acquire(timeout=5)
        assert _error(impatient, hung.address).reason == "did not answer a moment ago"
        finding_out.join(10)
        let_go.set()
        assert len(hung.requests) == 2


def test_after_close_a_call_under_way_ends_as_unreachable(clock: _Clock) -> None:
    arrived, let_go = threading.Event(), threading.Event()

    def hangs(_request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
        arrived.set()
        let_go.wait(10)
        return cloud_pb2.PushMsgReply()

    nodes = Nodes(deadline_s=10, token=None, clock=clock)
    with serving(hangs) as node:
        answers: list[NodeError] = []
        pushing = threading.Thread(target=lambda: answers.append(_error(nodes, node.address)))
        pushing.start()
        assert arrived.wait(5)
        nodes.close()
        pushing.join(5)
        let_go.set()
    assert [type(answer) for answer in answers] == [NodeUnreachable]
