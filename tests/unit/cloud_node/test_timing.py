"""Time in each stage of a node, with a push to look at: the wait for the hub, the flush, the whole."""

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Histogram
from prometheus_client.openmetrics.exposition import generate_latest

from cloud_node import metrics
from cloud_node.hub import Session
from cloud_node.timing import TimedWrites
from cloud_node.wire.recipients import Recipients
from proto import cloud_pb2, cloud_pb2_grpc
from tests.parts.hub_thread import SOON_S, busy
from tests.parts.process import until
from tests.parts.stream import TOKEN, GrpcNode, push

_NOBODY = Recipients([])


def _name(histogram: Histogram) -> str:
    (metric,) = histogram.describe()
    return metric.name


def _seen(histogram: Histogram) -> tuple[int, float]:
    """How many observations there were, and their sum."""
    name = _name(histogram)
    count, total = (metrics.REGISTRY.get_sample_value(f"{name}_{what}") or 0 for what in ("count", "sum"))
    return int(count), total


def _examples(histogram: Histogram) -> list[str]:
    name = _name(histogram)
    text: str = generate_latest(metrics.REGISTRY).decode()  # type: ignore[no-untyped-call]
    return [
        line.split('push_id="')[1].split('"')[0]
        for line in text.splitlines()
        if line.startswith(name) and "push_id" in line
    ]


class _Transport:
    """Takes *flush_s* by its own clock to flush."""

    full = False

    def __init__(self) -> None:
        self.now_s = 0.0
        self.flush_s = 0.25
        self.begun = 0
        self.emitted: list[tuple[object, int | None]] = []

    def backlog(self, session: Session) -> int:
        del session
        return 7

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        del recipients, event
        self.emitted.append((data, ack_id))
        return 3

    def begin(self) -> None:
        self.begun += 1

    def flush(self) -> None:
        self.now_s += self.flush_s


@pytest.fixture
def transport() -> _Transport:
    return _Transport()


@pytest.fixture
def timed(transport: _Transport) -> TimedWrites:
    return TimedWrites(transport, lambda: transport.now_s)


@pytest.fixture
def node() -> Iterator[GrpcNode]:
    node = GrpcNode()
    yield node
    node.end()


def test_a_flush_is_timed_with_the_latest_push_of_its_run_as_the_example(
    transport: _Transport, timed: TimedWrites
) -> None:
    count, total = _seen(metrics.FLUSH_SECONDS)
    timed.begin()
    for push_id in ("flushed-first", "flushed-last"):
        assert timed.emit(_NOBODY, "push", {"push_id": push_id}, 5) == 3
    timed.flush()
    after, after_s = _seen(metrics.FLUSH_SECONDS)
    assert after == count + 1
    assert after_s - total == pytest.approx(0.25)
    assert "flushed-last" in _examples(metrics.FLUSH_SECONDS)
    assert "flushed-first" not in _examples(metrics.FLUSH_SECONDS)
    assert transport.emitted == [({"push_id": "flushed-first"}, 5), ({"push_id": "flushed-last"}, 5)]
    assert (transport.begun, timed.full, timed.backlog(None)) == (1, False, 7)  # type: ignore[arg-type]


def test_a_run_that_hands_nothing_over_is_flushed_and_not_timed(transport: _Transport, timed: TimedWrites) -> None:
    before = _seen(metrics.FLUSH_SECONDS)
    timed.emit(_NOBODY, "push", {"push_id": "between-two-runs"})
    timed.begin()
    timed.flush()
    assert (_seen(metrics.FLUSH_SECONDS), transport.now_s) == (before, 0.25)


@pytest.mark.parametrize("data", [{"push_id": ""}, {"key": "alice"}, {"push_id": "x" * 122}, "no push"])
def test_a_flush_without_a_fit_push_id_is_timed_without_an_example(timed: TimedWrites, data: Any) -> None:
    before, examples = _seen(metrics.FLUSH_SECONDS)[0], _examples(metrics.FLUSH_SECONDS)
    timed.begin()
    timed.emit(_NOBODY, "push", data)
    timed.flush()
    assert _seen(metrics.FLUSH_SECONDS)[0] == before + 1
    assert _examples(metrics.FLUSH_SECONDS) == examples


def test_a_batch_and_a_call_are_timed_up_to_their_turn_and_as_a_whole(node: GrpcNode) -> None:
    stages = (metrics.HUB_WAIT_SECONDS, metrics.RPC_SECONDS)
    before = [_seen(stage)[0] for stage in stages]
    stub = cloud_pb2_grpc.CloudStub(node.channel)  # type: ignore[no-untyped-call]
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    stream = node.stream()
    with busy(node.bridge):
        stream.send(1, push("p"), push("q"))
        until(lambda: len(node.bridge) == 1, SOON_S, "a batch that waits")
        call = stub.PushMsg.future(push("r"), timeout=SOON_S, metadata=metadata)
        until(lambda: len(node.bridge) == 2, SOON_S, "a call that waits")
        assert [_seen(stage)[0] for stage in stages] == before
    assert stream.reply().end == cloud_pb2.BATCH_DONE
    assert list(call.result().outcomes) == [cloud_pb2.OUTCOME_DELIVERED]
    assert [_seen(stage)[0] for stage in stages] == [count + 2 for count in before]


@pytest.mark.parametrize("way", ["batch", "call"])
def test_the_example_is_a_push_of_the_batch_or_the_call(node: GrpcNode, way: str) -> None:
    if way == "batch":
        stream = node.stream()
        stream.send(1, push("example-in-a-batch"), push("p"))
        stream.reply()
    else:
        stub = cloud_pb2_grpc.CloudStub(node.channel)  # type: ignore[no-untyped-call]
        stub.PushMsg(push("example-in-a-call"), timeout=SOON_S, metadata=(("authorization", f"Bearer {TOKEN}"),))
    for stage in (metrics.HUB_WAIT_SECONDS, metrics.RPC_SECONDS):
        assert f"example-in-a-{way}" in _examples(stage)


def test_an_empty_batch_is_timed_without_an_example(node: GrpcNode) -> None:
    count, examples = _seen(metrics.HUB_WAIT_SECONDS)[0], _examples(metrics.HUB_WAIT_SECONDS)
    stream = node.stream()
    stream.send(1)
    stream.reply()
    assert _seen(metrics.HUB_WAIT_SECONDS)[0] == count + 1
    assert _examples(metrics.HUB_WAIT_SECONDS) == examples
