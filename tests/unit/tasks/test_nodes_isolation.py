"""A node that is hung or slow costs pushes to others nothing, and its own callers little.  Real gRPC servers."""

from concurrent.futures import Future, ThreadPoolExecutor

from proto.errors import NodeBusy, NodeUnreachable
from tasks.link_parcel import Answer
from tests.fakes.cloud_node import serving
from tests.fakes.stream_answers import OK, Hangs, answer_all, error_of, never, push, push_one
from tests.parts.process import until
from tests.unit.tasks.conftest import MakeNodes

_SOON_S = 5.0


def test_a_hung_node_costs_one_deadline_then_none_and_is_asked_again_a_moment_later(make_nodes: MakeNodes) -> None:
    now = [0.0]
    nodes, hangs = make_nodes(0.4, clock=lambda: now[0]), Hangs()
    with serving(never, hangs) as hung, serving(never, answer_all) as other:
        answers = nodes.push_all({hung.address: [push()], other.address: [push()]})
        assert answers[other.address] == [OK]
        assert isinstance(answers[hung.address][0], NodeUnreachable)
        # By address: the same process under another incarnation is as hung.
        ((error,),) = nodes.push_all({f"{hung.address}#bb": [push()]}, urgent=True).values()
        assert error_of(error).reason == "did not answer a moment ago"
        hangs.let_go.set()
        now[0] += 1.1
        assert push_one(nodes, hung) == OK
        assert push_one(nodes, hung) == OK


def test_one_call_finds_out_about_a_hung_node_while_the_others_fail_at_once(
    make_nodes: MakeNodes, callers: ThreadPoolExecutor
) -> None:
    now = [0.0]
    nodes, hangs = make_nodes(0.4, clock=lambda: now[0]), Hangs()
    with serving(never, hangs) as hung:
        assert isinstance(push_one(nodes, hung), NodeUnreachable)
        assert hangs.got.acquire(timeout=_SOON_S)
        now[0] += 1.1
        finding_out = callers.submit(push_one, nodes, hung)
        assert hangs.got.acquire(timeout=_SOON_S)
        assert error_of(push_one(nodes, hung)).reason == "did not answer a moment ago"
        assert isinstance(finding_out.result(_SOON_S), NodeUnreachable)
        assert not hangs.got.acquire(blocking=False)
        hangs.let_go.set()


def test_a_slow_node_holds_half_of_the_threads_and_the_others_are_told_so(
    make_nodes: MakeNodes, callers: ThreadPoolExecutor
) -> None:
    nodes, hangs = make_nodes(60, threads=4), Hangs()
    with serving(never, hangs) as slow, serving(never, answer_all) as well:
        calls: list[Future[Answer]] = [callers.submit(push_one, nodes, slow) for _ in range(4)]
        until(lambda: sum(call.done() for call in calls) == 2, _SOON_S, "two of four that wait no more")
        left = {type(call.result()) for call in calls if call.done()}
        assert left <= {NodeUnreachable, NodeBusy}, "sent or not, they may be tried again"

        answers = nodes.push_all({slow.address: [push()], well.address: [push()]})
        assert answers[well.address] == [OK]
        error = error_of(answers[slow.address][0])
        assert (type(error), error.reason) == (NodeBusy, "is slow, and others wait for it already")

        hangs.let_go.set()
        assert [call.result(_SOON_S) for call in calls].count(OK) == 2
        assert push_one(nodes, slow) == OK
