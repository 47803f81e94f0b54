"""Streams that say they are urgent: a real gRPC server and a real hub."""

from collections.abc import Iterator

import pytest

from tests.parts.hub_thread import SOON_S, busy
from tests.parts.process import until
from tests.parts.stream import GrpcNode, push


@pytest.fixture
def node() -> Iterator[GrpcNode]:
    node = GrpcNode()
    yield node
    node.end()


def test_an_urgent_stream_goes_before_what_waits_and_keeps_its_own_order(node: GrpcNode) -> None:
    urgent, others = node.stream(urgent=True), node.stream()
    with busy(node.bridge):
        for seq in range(3):
            others.send(seq, push(f"other {seq}"))
        until(lambda: len(node.bridge) == 3, SOON_S, "three batches that wait")
        for seq in range(3):
            urgent.send(seq, push(f"urgent {seq}"))
        until(lambda: len(node.bridge) == 6, SOON_S, "six")
    for stream in (others, urgent):
        assert [stream.reply().seq for _ in range(3)] == [0, 1, 2]
    assert node.got == [f"{kind} {seq}" for kind in ("urgent", "other") for seq in range(3)]


def test_an_urgent_stream_is_served_where_the_others_have_filled_the_bridge(node: GrpcNode) -> None:
    urgent, others = node.stream(urgent=True), [node.stream() for _ in range(2)]
    with busy(node.bridge):
        for seq in range(20):
            for stream in others:
                stream.send(seq, push(f"{seq}"))
        until(lambda: len(node.bridge) == 16, SOON_S, "a bridge that is full")
        urgent.send(1, push("urgent"))
        until(lambda: len(node.bridge) == 17, SOON_S, "the urgent batch beside them")
    assert urgent.reply().seq == 1
    assert node.got[0] == "urgent"
