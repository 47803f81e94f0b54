"""One thread computes at a time, the most urgent of those that wait is next, and who waits for others lets go."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from proto import cloud_pb2
from proto.message import Message, Push
from proto.queues import Priority
from tasks import turns
from tasks.nodes import Nodes
from tasks.turns import Turn
from tests.fakes.cloud_node import OnBatches, serving

_SOON_S = 10.0
_HUNG = SimpleNamespace(asked=threading.Event(), let_go=threading.Event())
_DELIVERED = cloud_pb2.PushMsgReply(outcomes=[cloud_pb2.OUTCOME_DELIVERED], sessions=[1])


def until_in_line(turn: Turn, before: int = 0) -> bool:
    """Wait until one more than *before* stand in line."""
    pause = threading.Event()
    deadline = time.monotonic() + _SOON_S
    while sum(map(len, turn._line)) <= before:
        if time.monotonic() > deadline:
            return False
        pause.wait(0.001)
    return True


def _in_line(turn: Turn, rank: int, done: Callable[[], None]) -> threading.Thread:
    """Start a thread that takes the turn, and wait until it stands in line."""
    before = sum(map(len, turn._line))

    def take() -> None:
        turn.take(rank)
        done()
        turn.give()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    assert until_in_line(turn, before)
    return thread


def test_the_most_urgent_in_line_is_next_and_equals_as_they_came() -> None:
    turn, order = Turn(2), list[str]()
    turn.take(0)
    threads = [
        _in_line(turn, rank, lambda name=name: order.append(name))  # type: ignore[misc]
        for rank, name in [(1, "bulk"), (0, "normal"), (1, "bulk too"), (0, "normal too")]
    ]
    turn.give()
    for thread in threads:
        thread.join(_SOON_S)
    assert order == ["normal", "normal too", "bulk", "bulk too"]


def test_who_is_away_lets_others_compute_and_waits_for_the_turn_again() -> None:
    computed = threading.Event()

    def other() -> None:
        with turns.turn(Priority.BULK):
            computed.set()

    with turns.turn(Priority.NORMAL):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        with turns.away():
            assert computed.wait(_SOON_S)
        thread.join(_SOON_S)
    assert not thread.is_alive()


def test_who_comes_back_has_the_turn_to_itself() -> None:
    at_work, order = threading.Event(), list[str]()

    def other() -> None:
        with turns.turn(Priority.NORMAL):
            at_work.set()
            assert until_in_line(turns._OTHERS)
            order.append("other")

    with turns.turn(Priority.NORMAL):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        with turns.away():
            assert at_work.wait(_SOON_S)
        order.append("this one")
    thread.join(_SOON_S)
    assert order == ["other", "this one"]


def test_high_priority_waits_for_no_others_turn() -> None:
    computed = threading.Event()

    def high() -> None:
        with turns.turn(Priority.HIGH):
            computed.set()

    with turns.turn(Priority.NORMAL):
        thread = threading.Thread(target=high, daemon=True)
        thread.start()
        assert computed.wait(_SOON_S)


def test_a_turn_that_ends_in_an_error_is_given_up() -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), turns.turn(Priority.BULK), turns.away():
            raise RuntimeError


def test_without_a_turn_there_is_nothing_to_give_up() -> None:
    with turns.away():
        pass
    with turns.turn(Priority.BULK):
        pass


def _on_stream(batches: Iterator[cloud_pb2.PushBatch], _context: Any) -> Iterator[cloud_pb2.PushBatchReply]:
    for batch in batches:
        _HUNG.asked.set()
        _HUNG.let_go.wait(_SOON_S)
        yield cloud_pb2.PushBatchReply(seq=batch.seq, replies=[_DELIVERED] * len(batch.pushes))


def _on_call(_request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
    _HUNG.asked.set()
    _HUNG.let_go.wait(_SOON_S)
    return _DELIVERED


@pytest.mark.parametrize("on_stream", [_on_stream, None], ids=["stream", "single calls"])
def test_who_waits_for_a_node_keeps_nobody_from_computing(on_stream: OnBatches | None) -> None:
    nodes = Nodes(deadline_s=_SOON_S, token=None)
    _HUNG.asked.clear()
    _HUNG.let_go.clear()

    def push(address: str) -> None:
        with turns.turn(Priority.NORMAL):
            nodes.push_all({f"{address}#boot": [(Push("01J0", ("a",), Message(9, b"null")), ("a",))]})

    with serving(_on_call, on_stream) as node:
        thread = threading.Thread(target=push, args=(node.address,), daemon=True)
        thread.start()
        assert _HUNG.asked.wait(_SOON_S)
        other = threading.Thread(target=_has_a_turn, daemon=True)
        other.start()
        other.join(_SOON_S / 2)
        assert not other.is_alive()
        assert thread.is_alive()
        _HUNG.let_go.set()
        thread.join(_SOON_S)
        nodes.close()


def _has_a_turn() -> None:
    with turns.turn(Priority.BULK):
        pass
