"""A worker's links and a node's streams, the one against the other: a real gRPC server, a real hub, no sessions."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from proto.errors import NodeBusy, NodeError, NodeRefused
from proto.message import KeyOutcome, Message, Outcome, Push
from tasks.link_parcel import Answer
from tasks.nodes import Nodes
from tests.parts.hub_thread import SOON_S, busy
from tests.parts.process import until
from tests.parts.stream import TOKEN, GrpcNode

_OK = {"k": KeyOutcome(Outcome.DELIVERED, 1)}


@pytest.fixture
def node() -> Iterator[GrpcNode]:
    node = GrpcNode(capacity=2)
    yield node
    node.end()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(deadline_s=4 * SOON_S, token=TOKEN)
    yield made
    made.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def _push(push_id: str, *keys: str, body: bytes = b"1") -> Push:
    return Push(push_id, keys or ("k",), Message(9, body))


def _send(nodes: Nodes, node: GrpcNode, *pushes: Push, urgent: bool = False) -> list[Answer]:
    return nodes.push_all({node.address: [(push, push.keys) for push in pushes]}, urgent=urgent)[node.address]


def test_with_the_grpc_that_is_installed_pushes_go_over_streams(node: GrpcNode, nodes: Nodes) -> None:
    assert _send(nodes, node, _push("p")) == [_OK]
    assert _send(nodes, node, _push("q"), urgent=True) == [_OK]
    assert node.open_streams() == 2
    nodes.close()
    until(lambda: node.open_streams() == 0, SOON_S, "no streams")


def test_a_thousand_pushes_arrive_in_order_and_each_has_its_own_answer(node: GrpcNode, nodes: Nodes) -> None:
    pushes = [_push(f"{number}", "nobody" if number % 3 else "k") for number in range(1_000)]
    answers = _send(nodes, node, *pushes)
    assert node.got == [push.push_id for push in pushes]
    assert answers == [{"nobody": KeyOutcome(Outcome.NO_SESSION)} if number % 3 else _OK for number in range(1_000)]


def test_a_push_that_is_no_json_and_one_that_breaks_on_the_node_cost_only_themselves(
    node: GrpcNode, nodes: Nodes
) -> None:
    answers = _send(nodes, node, _push("a"), _push("b", body=b"{nope"), _push("c", "broken"), _push("d"))
    assert (answers[0], answers[3]) == (_OK, _OK)
    assert [type(answer) for answer in answers[1:3]] == [NodeRefused] * 2


def test_without_the_token_a_node_refuses_for_good(node: GrpcNode) -> None:
    stranger = Nodes(deadline_s=SOON_S, token=None)
    (answer,) = _send(stranger, node, _push("p"))
    stranger.close()
    assert isinstance(answer, NodeRefused)
    assert answer.reason.startswith("UNAUTHENTICATED")


def test_large_pushes_fit_into_what_grpc_takes_and_one_that_never_would_is_refused(
    node: GrpcNode, nodes: Nodes
) -> None:
    sizes = (1_500_000, 4 * 1024 * 1024 - 200, 10, 4 * 1024 * 1024, 1_500_000)
    answers = _send(nodes, node, *(_push(f"{size}", body=b'"%s"' % (b"x" * size)) for size in sizes))
    assert [answer if answer == _OK else type(answer) for answer in answers] == [_OK, _OK, _OK, NodeRefused, _OK]


def test_an_urgent_push_goes_before_those_that_wait_for_the_hub(
    node: GrpcNode, nodes: Nodes, callers: ThreadPoolExecutor
) -> None:
    with busy(node.bridge):
        others = [callers.submit(_send, nodes, node, *map(_push, "ab"))]
        until(lambda: len(node.bridge) == 1, SOON_S, "a batch that waits")
        others += [callers.submit(_send, nodes, node, *map(_push, "cd"))]
        until(lambda: len(node.bridge) == 2, SOON_S, "two")
        urgent = callers.submit(_send, nodes, node, _push("urgent"), urgent=True)
        until(lambda: len(node.bridge) == 3, SOON_S, "three")
    assert urgent.result(SOON_S) == [_OK]
    assert [other.result(SOON_S) for other in others] == [[_OK, _OK]] * 2
    assert node.got == ["urgent", *"abcd"]


def test_a_node_that_is_behind_says_so_and_has_everything_once_in_the_end(
    node: GrpcNode, callers: ThreadPoolExecutor
) -> None:
    workers = [Nodes(deadline_s=4 * SOON_S, token=TOKEN) for _ in range(8)]
    hurdles: list[NodeError] = []

    def send(worker: Nodes, number: int) -> None:
        left = [_push(f"{number}.{each}") for each in range(500)]
        until_s = time.monotonic() + 4 * SOON_S
        while left:
            assert time.monotonic() < until_s
            answers = _send(worker, node, *left)
            hurdles.extend(answer for answer in answers if isinstance(answer, NodeError))
            left = [push for push, answer in zip(left, answers, strict=True) if answer != _OK]
            if left:
                threading.Event().wait(0.01)

    with busy(node.bridge):
        sending = [callers.submit(send, worker, number) for number, worker in enumerate(workers)]
        until(lambda: len(hurdles) > 0, SOON_S, "a worker that is told that the node is busy")
    for each in sending:
        each.result(6 * SOON_S)
    assert sorted(node.got) == sorted(f"{number}.{each}" for number in range(8) for each in range(500))
    assert {type(hurdle) for hurdle in hurdles} == {NodeBusy}
    for worker in workers:
        worker.close()


def test_a_node_that_stops_answers_what_it_has_and_the_rest_is_unreachable(
    node: GrpcNode, nodes: Nodes, callers: ThreadPoolExecutor
) -> None:
    with busy(node.bridge):
        in_hand = callers.submit(_send, nodes, node, _push("a"))
        until(lambda: len(node.bridge) == 1, SOON_S, "a batch that waits")
        stopped = node.stop()
    assert in_hand.result(SOON_S) == [_OK]
    assert stopped.wait(SOON_S)
    (answer,) = _send(nodes, node, _push("b"))
    assert isinstance(answer, NodeError)
    assert answer.retryable
    assert node.got == ["a"]
