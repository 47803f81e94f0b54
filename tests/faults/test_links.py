"""Streams to real nodes that are frozen, killed, restarted, or unheard: no push is lost, none arrives twice."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from proto.errors import NodeError, NodeUnreachable
from proto.message import KeyOutcome, Message, Outcome, Push
from tasks.link_parcel import Answer
from tasks.nodes import Nodes
from tests.parts.faults import frozen, killed
from tests.parts.fleet import Fleet, is_ready
from tests.parts.grpc_proxy import GrpcProxy, Weather
from tests.parts.listener import Listener
from tests.parts.process import until

pytestmark = pytest.mark.services

_DEADLINE_S = 1.0
_RETRY_S = 0.02
_GOT = (Outcome.DELIVERED, Outcome.DUPLICATE)
_numbers = count()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(deadline_s=_DEADLINE_S, token=None, threads=8)
    yield made
    made.close()


def _push(key: str) -> Push:
    return Push(f"links-{next(_numbers)}", (key,), Message(9, b"1"))


def _got(answer: Answer) -> bool:
    return not isinstance(answer, NodeError) and all(
        isinstance(it, KeyOutcome) and it.outcome in _GOT for it in answer.values()
    )


def _send(nodes: Nodes, node: str, pushes: list[Push]) -> list[Answer]:
    return nodes.push_all({node: [(push, push.keys) for push in pushes]})[node]


def _send_until_got(nodes: Nodes, node: str, pushes: list[Push]) -> Counter[str]:
    """Send again what was not answered well, as a worker does; gives the errors on the way."""
    errors: Counter[str] = Counter()
    left = pushes
    deadline = time.monotonic() + 30
    while left:
        assert time.monotonic() < deadline, f"{len(left)} never arrived; {errors}"
        answers = _send(nodes, node, left)
        errors.update(type(answer).__name__ for answer in answers if isinstance(answer, NodeError))
        assert all(answer.retryable for answer in answers if isinstance(answer, NodeError))
        left = [push for push, answer in zip(left, answers, strict=True) if not _got(answer)]
        if left:
            threading.Event().wait(_RETRY_S)
    return errors


def _once_each(listener: Listener, pushes: list[Push]) -> None:
    listener.wait_for([push.push_id for push in pushes], 10)
    counts = listener.counts()
    assert {counts[push.push_id] for push in pushes} == {1}


class _Senders:
    """Eight threads that push to one key at each of the given nodes, in turn, until the block ends."""

    def __init__(self, nodes: Nodes, targets: dict[str, str]) -> None:
        self._nodes = nodes
        self._targets = targets
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.got: dict[str, list[Push]] = {key: [] for key in targets.values()}
        self.errors: dict[str, Counter[str]] = {key: Counter() for key in targets.values()}

    def __enter__(self) -> "_Senders":
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, number: int) -> None:
        targets = list(self._targets.items())
        while not self._over.wait(0.002):
            number += 1
            node, key = targets[number % len(targets)]
            pushes = [_push(key) for _ in range(3)]
            answers = _send(self._nodes, node, pushes)
            with self._lock:
                for push, answer in zip(pushes, answers, strict=True):
                    if _got(answer):
                        self.got[key].append(push)
                    else:
                        self.errors[key][type(answer).__name__] += 1

    def until_more(self, key: str, number: int) -> None:
        """Wait until so many more have arrived."""
        enough = len(self.got[key]) + number
        until(lambda: len(self.got[key]) >= enough, 20, f"{number} more to {key}")


def test_a_frozen_node_holds_up_nobody_elses_pushes_and_is_pushed_to_again_when_it_thaws(
    fleet: Fleet, nodes: Nodes
) -> None:
    ill, well = fleet.nodes
    with Listener("on-ill").connect(ill.url) as on_ill, Listener("on-well").connect(well.url) as on_well:
        with _Senders(nodes, {f"{ill.grpc}#x": "on-ill", f"{well.grpc}#x": "on-well"}) as senders:
            senders.until_more("on-ill", 50)
            senders.until_more("on-well", 50)
            before = Counter(senders.errors["on-ill"])
            with frozen(ill.process):
                until(lambda: bool(senders.errors["on-ill"] - before), 10, "the first error")
                for _ in range(5):
                    senders.until_more("on-well", 100)
                until(lambda: senders.errors["on-ill"]["NodeUnreachable"] > 200, 10, "errors without a wait")
            senders.until_more("on-ill", 50)
        assert not senders.errors["on-well"]
        _once_each(on_ill, senders.got["on-ill"])
        _once_each(on_well, senders.got["on-well"])
        print(f"to the frozen node: {dict(senders.errors['on-ill'])}; to the other: {len(senders.got['on-well'])} got")


def test_a_node_that_is_killed_and_started_again_in_mid_stream_is_pushed_to_again(fleet: Fleet, nodes: Nodes) -> None:
    node = fleet.nodes[0]
    address = f"{node.grpc}#x"
    with Listener("doomed").connect(node.url) as doomed:
        with _Senders(nodes, {address: "doomed"}) as senders:
            senders.until_more("doomed", 100)
            with killed(node.process):
                until(lambda: senders.errors["doomed"]["NodeUnreachable"] > 50, 10, "errors")
            assert set(senders.errors["doomed"]) == {"NodeUnreachable"}
        counts = doomed.counts()
        assert not [push_id for push_id, number in counts.items() if number > 1]
    until(lambda: is_ready(node.url), 20, "the node again")
    with Listener("doomed").connect(node.url) as back:
        pushes = [_push("doomed") for _ in range(250)]
        _send_until_got(nodes, address, pushes)
        _once_each(back, pushes)


@pytest.mark.parametrize("urgent", [False, True])
def test_pushes_whose_answers_are_lost_are_sent_again_and_arrive_once(fleet: Fleet, nodes: Nodes, urgent: bool) -> None:
    node = fleet.nodes[0]
    key = f"unheard-{urgent}"
    proxy = GrpcProxy(node.grpc_port, seed=6)
    try:
        with Listener(key).connect(node.url) as unheard:
            pushes = [_push(key) for _ in range(300)]
            errors: Counter[str] = Counter()
            with proxy.weather(Weather(drop=0.05, duplicate=0.1, lose_reply=0.3)):
                for first in range(0, 300, 10):
                    errors += _send_until_got(nodes, f"127.0.0.1:{proxy.port}#x", pushes[first : first + 10])
            assert errors["NodeUnreachable"] > 0
            assert proxy.met["replies lost"] > 0
            _once_each(unheard, pushes)
            print(dict(errors), dict(proxy.met))
    finally:
        proxy.close()


def test_a_node_that_is_not_there_is_found_out_at_once(fleet: Fleet, nodes: Nodes) -> None:
    node = fleet.nodes[0]
    with killed(node.process):
        for _ in range(20):
            (answer,) = _send(nodes, f"{node.grpc}#x", [_push("nobody")])
            assert isinstance(answer, NodeUnreachable)
            assert "UNAVAILABLE" in answer.reason
    until(lambda: is_ready(node.url), 20, "the node again")
