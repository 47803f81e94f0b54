"""Pushes over streams, to real gRPC servers that say what a test wants: answers and endings."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from proto import cloud_pb2
from proto.errors import NodeError, NodeRefused, NodeUnreachable
from proto.message import KeyOutcome, Outcome
from tasks import nodes as module
from tests.fakes.cloud_node import serving
from tests.fakes.stream_answers import (
    OK,
    Batches,
    Hangs,
    Replies,
    answer_all,
    error_of,
    never,
    push,
    push_one,
    reply_to,
)
from tests.parts.process import free_port, until
from tests.unit.tasks.conftest import MakeNodes

_SOON_S = 5.0


def test_each_push_to_each_node_has_its_answer_in_order(make_nodes: MakeNodes) -> None:
    with serving(never, answer_all) as one, serving(never, answer_all) as other:
        sends = {
            f"{one.address}#aa": [push("a"), push("bad"), push("b", "nobody")],
            f"{other.address}#bb": [push("nobody")] * 250,
        }
        answers = make_nodes().push_all(sends)
        first, bad, last = answers[f"{one.address}#aa"]
        assert first == OK
        assert (type(bad), error_of(bad).node, error_of(bad).reason) == (
            NodeRefused,
            f"{one.address}#aa",
            "as bad as it looks",
        )
        assert last == {"b": KeyOutcome(Outcome.DELIVERED, 1), "nobody": KeyOutcome(Outcome.NO_SESSION)}
        assert answers[f"{other.address}#bb"] == [{"nobody": KeyOutcome(Outcome.NO_SESSION)}] * 250


def test_nothing_to_send_is_answered_at_once(make_nodes: MakeNodes) -> None:
    assert make_nodes().push_all({}) == {}
    assert make_nodes().push_all({"127.0.0.1:1#a": []}) == {"127.0.0.1:1#a": []}


def test_a_node_has_one_stream_for_urgent_pushes_and_one_for_all_others(make_nodes: MakeNodes) -> None:
    nodes = make_nodes()
    with serving(never, answer_all) as node:
        for urgent in (False, True, False, True):
            assert push_one(nodes, node, urgent=urgent) == OK
        assert [(it["authorization"], it.get("urgent")) for it in node.metadata] == [
            ("Bearer " + "t" * 16, None),
            ("Bearer " + "t" * 16, "1"),
        ]


def test_an_urgent_push_does_not_wait_for_an_answer_to_others(
    make_nodes: MakeNodes, callers: ThreadPoolExecutor
) -> None:
    nodes, hangs = make_nodes(), Hangs()

    def by_urgency(batches: Batches, context: Any) -> Replies:
        urgent = dict(context.invocation_metadata()).get("urgent") == "1"
        return answer_all(batches, context) if urgent else hangs(batches, context)

    with serving(never, by_urgency) as node:
        others = [callers.submit(push_one, nodes, node) for _ in range(4)]
        assert hangs.got.acquire(timeout=_SOON_S)
        assert push_one(nodes, node, urgent=True) == OK
        assert not any(other.done() for other in others)
        hangs.let_go.set()
        assert [other.result(_SOON_S) for other in others] == [OK] * 4


def test_what_many_threads_push_meanwhile_goes_together(make_nodes: MakeNodes, callers: ThreadPoolExecutor) -> None:
    sizes: list[int] = []
    hangs = Hangs()

    def noted(batches: Batches, context: Any) -> Replies:
        return hangs((sizes.append(len(it.pushes)) or it for it in batches), context)  # type: ignore[func-returns-value]

    nodes = make_nodes()
    with serving(never, noted) as node:
        first = [callers.submit(push_one, nodes, node)]
        assert hangs.got.acquire(timeout=_SOON_S)
        first.append(callers.submit(push_one, nodes, node))
        link = nodes._peers[node.address].links[False]
        until(lambda: len(link._stream.sent) == 2, _SOON_S, "two batches")  # type: ignore[union-attr]
        more = [callers.submit(push_one, nodes, node) for _ in range(6)]
        until(lambda: link._waiting_pushes == 6, _SOON_S, "six that wait")
        hangs.let_go.set()
        assert [each.result(_SOON_S) for each in first + more] == [OK] * 8
    assert sizes == [1, 1, 6]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, NodeUnreachable),
        (grpc.StatusCode.INTERNAL, NodeUnreachable),
        (grpc.StatusCode.UNAUTHENTICATED, NodeRefused),
    ],
)
def test_the_end_of_a_stream_is_one_of_our_errors(
    make_nodes: MakeNodes, code: grpc.StatusCode, kind: type[NodeError]
) -> None:
    def ends(_batches: Batches, context: Any) -> Replies:
        context.abort(code, "the reason")
        yield cloud_pb2.PushBatchReply()

    with serving(never, ends) as node:
        error = error_of(push_one(make_nodes(), node))
    assert (type(error), error.reason) == (kind, f"{code.name}: the reason")


def test_nobody_there_is_unreachable_at_once_and_costs_the_others_nothing(make_nodes: MakeNodes) -> None:
    gone = f"127.0.0.1:{free_port()}#gone"
    with serving(never, answer_all) as node:
        answers = make_nodes().push_all({gone: [push()] * 2, node.address: [push()]})
    assert answers[node.address] == [OK]
    assert [(type(error), error_of(error).reason[:11]) for error in answers[gone]] == [
        (NodeUnreachable, "UNAVAILABLE")
    ] * 2


def test_a_node_whose_answers_stay_away_in_mid_stream_keeps_what_it_answered_before(make_nodes: MakeNodes) -> None:
    def once(batches: Batches, context: Any) -> Replies:
        yield reply_to(next(batches))
        next(batches)
        context.abort(grpc.StatusCode.UNAVAILABLE, "cut off")

    nodes = make_nodes()
    with serving(never, once) as node:
        answers = nodes.push_all({node.address: [push()] * 200})[node.address]
        assert answers[:100] == [OK] * 100
        assert {(type(error), error_of(error).reason) for error in answers[100:]} == {
            (NodeUnreachable, "UNAVAILABLE: cut off")
        }
        assert push_one(nodes, node) == OK, "the next stream opens at once: the last one had answered"


def test_an_answer_that_makes_no_sense_ends_the_stream_and_is_unreachable(make_nodes: MakeNodes) -> None:
    def confused(batches: Batches, _context: Any) -> Replies:
        for batch in batches:
            yield cloud_pb2.PushBatchReply(seq=batch.seq + 7)

    with serving(never, confused) as node:
        error = error_of(push_one(make_nodes(), node))
    assert (type(error), error.reason) == (NodeUnreachable, "CANCELLED: it answered batch 8, which is not the next")


def test_a_node_without_streams_is_called_for_each_push(make_nodes: MakeNodes) -> None:
    def each(request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
        return reply_to(cloud_pb2.PushBatch(pushes=[request])).replies[0]

    nodes = make_nodes()
    with serving(each) as old, serving(never, answer_all) as new:
        for _ in range(2):
            answers = nodes.push_all({old.address: [push("a"), push("nobody")] * 60, new.address: [push()]})
            assert answers == {
                old.address: [OK, {"nobody": KeyOutcome(Outcome.NO_SESSION)}] * 60,
                new.address: [OK],
            }
        assert len(old.requests) == 240


def test_with_a_grpc_that_is_made_otherwise_pushes_go_one_by_one(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.link_wire.cygrpc", object())
    with serving(lambda request, _: reply_to(cloud_pb2.PushBatch(pushes=[request])).replies[0], answer_all) as node:
        assert push_one(make_nodes(), node) == OK
        assert (len(node.requests), len(node.metadata)) == (1, 1)


def test_a_node_that_is_pushed_out_of_the_table_is_dialled_anew(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_NODES", 1)
    nodes = make_nodes()
    with serving(never, answer_all) as one, serving(never, answer_all) as other:
        for _ in range(3):
            assert (push_one(nodes, one), push_one(nodes, other)) == (OK, OK)
        assert len(nodes._peers) == 1
        assert len(one.metadata) == 3


def test_after_close_calls_under_way_and_later_ones_are_unreachable(
    make_nodes: MakeNodes, callers: ThreadPoolExecutor
) -> None:
    nodes, hangs = make_nodes(), Hangs()
    with serving(never, hangs) as node:
        calls = [callers.submit(push_one, nodes, node, urgent=urgent) for urgent in (False, True) * 3]
        assert hangs.got.acquire(timeout=_SOON_S)
        assert hangs.got.acquire(timeout=_SOON_S)
        nodes.close()
        assert {type(call.result(_SOON_S)) for call in calls} == {NodeUnreachable}
        assert isinstance(push_one(nodes, node), NodeUnreachable)
