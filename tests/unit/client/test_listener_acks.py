"""cloudpush.listener: what is acknowledged and when, and what happens when the handler is behind."""

import threading
import time
from typing import Any

import pytest

import cloudpush.intake
from cloudpush import Listener, Message
from cloudpush.acks import MOST, WITHIN_S, AckBatch
from tests.fakes.scripted_node import scripted_node
from tests.parts.process import until

WAIT_S = 10.0


class Held:
    """A handler that waits to be let go, message by message."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.done: list[Any] = []
        self.go = threading.Semaphore(0)

    def __call__(self, message: Message) -> None:
        self.begun.append(message.msg)
        assert self.go.acquire(timeout=WAIT_S)
        self.done.append(message.msg)

    def let(self, count: int) -> None:
        self.go.release(count)
        until(lambda: len(self.done) >= count, WAIT_S, f"{count} messages done")


def test_nothing_is_acknowledged_before_its_handler_has_returned() -> None:
    held = Held()
    with scripted_node() as node, Listener(node.url, key="alice", on_message=held) as listener:
        listener.wait_ready(WAIT_S)
        for n in range(3):
            node.store("alice", n)
        until(lambda: held.begun == [0], WAIT_S, "the first message")
        until(lambda: listener.counts().get("HAND") == 3, WAIT_S, "all to arrive")
        time.sleep(3 * WITHIN_S)  # longer than a batch: nothing may come
        assert (node.acks, node.answered) == ([], [])
        held.let(2)
        until(lambda: node.acks == [{"alice": 2}], WAIT_S, "one ack for both")
        held.go.release(1)
    assert node.acks[-1] == {"alice": 3}
    assert node.answered == []  # Socket.IO's own answer would say that it is done on arrival


def test_acks_are_batched() -> None:
    got: list[Any] = []
    with scripted_node() as node:
        for n in range(500):
            node.store("alice", n)
        with Listener(node.url, key="alice", on_message=got.append):
            until(lambda: bool(node.acks) and node.acks[-1] == {"alice": 500}, WAIT_S, "the last ack")
    assert len(node.acks) <= 500 / MOST + 10


def test_acks_that_had_no_answer_go_again_on_the_next_connection() -> None:
    refusal = {"error": {"code": "store_unavailable", "message": "not now"}}
    with scripted_node(ack_answer=refusal) as node, Listener(node.url, key="alice", on_message=lambda _: None):
        node.store("alice", 1)
        until(lambda: node.acks == [{"alice": 1}], WAIT_S, "an ack")
        node.ack_answer = None
        node.drop()
        until(lambda: node.acks == [{"alice": 1}] * 2, WAIT_S, "the ack again")
        node.drop()
        until(lambda: len(node.auths) == 3, WAIT_S, "a third connection")
        node.store("alice", 2)
        until(lambda: node.acks[-1] == {"alice": 2}, WAIT_S, "the next ack")
    assert node.acks == [{"alice": 1}, {"alice": 1}, {"alice": 2}]


def test_close_waits_for_the_handler_and_acknowledges_what_it_did() -> None:
    held = Held()
    with scripted_node() as node:
        listener = Listener(node.url, key="alice", on_message=held).start()
        node.store("alice", 1)
        node.store("alice", 2)
        until(lambda: held.begun == [1], WAIT_S, "the first message")
        threading.Timer(0.2, held.go.release).start()
        listener.close()
    assert (held.done, node.acks) == ([1], [{"alice": 1}])


def test_close_leaves_a_handler_that_does_not_return_and_its_message_is_not_done() -> None:
    held = Held()
    with scripted_node() as node:
        listener = Listener(node.url, key="alice", on_message=held).start()
        node.store("alice", 1)
        until(lambda: held.begun == [1], WAIT_S, "the first message")
        listener.close(timeout_s=0.1)
        assert node.acks == []
        held.let(1)
    assert listener._intake.cursors.state().cursors["alice"].offset == 0


def test_what_waits_is_bounded_and_nothing_is_lost_when_the_handler_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudpush.intake, "_ROOM_WITHIN_S", 0.2)
    held = Held()
    lost: list[str] = []
    with scripted_node() as node:
        listener = Listener(node.url, key="alice", on_message=held, on_lost=lost.append, most_waiting=10)
        with listener:
            listener.wait_ready(WAIT_S)
            for n in range(100):
                node.store("alice", n)
            listener._backoff.learn({"min_ms": 0, "max_ms": 0})
            until(lambda: not node.sids, WAIT_S, "the connection to be given up")
            assert len(listener._intake.waiting) <= 11
            time.sleep(0.5)  # longer than another connection takes: there may be none before there is room
            assert len(node.auths) == 1
            held.go.release(100)
            until(lambda: len(held.done) == 100, WAIT_S, "all messages")
    assert held.done == list(range(100))
    assert lost[0] == "the handler is behind"


def test_a_batch_is_due_a_while_after_its_first_or_when_it_is_full() -> None:
    woken: list[int] = []
    batch = AckBatch(lambda: woken.append(1))
    assert batch.wait_s(0) is None
    batch.note(10.0)
    batch.note(10.01)
    assert batch.wait_s(10.0 + WITHIN_S / 2) == pytest.approx(WITHIN_S / 2)
    assert batch.wait_s(10.0 + WITHIN_S) == 0
    for _ in range(MOST - 2):
        batch.note(10.02)
    assert (batch.wait_s(10.02), len(woken)) == (0, 2)
    batch.sent()
    assert batch.wait_s(10.02) is None
