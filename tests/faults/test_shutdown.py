"""SIGTERM: a node sends its sessions elsewhere, web answers what it has begun; both end by themselves, with 0."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
import requests
import websocket
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.conftest import QUICK
from tests.parts.faults import frozen
from tests.parts.fleet import Fleet, Node
from tests.parts.forwarder import Forwarder
from tests.parts.listener import Listener
from tests.parts.load import Answer, Load
from tests.parts.process import listens, until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.views import left_in_store, metric, nodes, ready

pytestmark = pytest.mark.services

_DRAIN_S = 4.0
_MARGIN_S = 0.5  # around the moments at which a session was there


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {**QUICK, "CLOUDPUSH_DRAIN_S": f"{_DRAIN_S}"}


@contextmanager
def _restarted(fleet: Fleet, node: Node) -> Iterator[None]:
    try:
        yield
    finally:
        if node.process.running:
            node.process.kill()
        node.process.start()
        fleet.wait_ready()


def _serving(node: Node) -> str:
    with grpc.insecure_channel(node.grpc) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        status = check(health_pb2.HealthCheckRequest(service=""), timeout=2).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


def _ended(node: Node, timeout_s: float) -> float:
    began = time.monotonic()
    until(lambda: not node.process.running, timeout_s, "the node's end")
    return time.monotonic() - began


def _was_there(answer: Answer, listener: Listener) -> bool:
    """Whether the session was there, for sure, when the push was posted and for a while after."""
    at = answer.began
    gaps = zip(listener.left_at, listener.ready_at[1:], strict=True)
    return not any(left - _MARGIN_S < at < back + _MARGIN_S for left, back in gaps)


def test_a_draining_node_sends_its_sessions_elsewhere_and_loses_no_push(fleet: Fleet) -> None:
    old, new = fleet.nodes
    with _restarted(fleet, old), Forwarder(old.socketio_port) as balancer:
        incarnation = old.node_id
        sessions = [
            Listener(f"d{number}", transports=("websocket",) if number % 2 else ("polling",), reconnects=True)
            for number in range(50)
        ]
        for session in sessions:
            session.connect(balancer.url)
        with Load(fleet, [one.key for one in sessions], per_second=100) as load:
            load.until_more(100)
            balancer.turn_to(new.socketio_port)
            began = time.monotonic()
            old.process.signal(signal.SIGTERM)
            until(lambda: _serving(old) == "NOT_SERVING", 2, "NOT_SERVING")
            assert _handshake(old) == 503
            assert ready(old.url)[0] == 503
            until(lambda: nodes(fleet)[old.grpc]["draining"], 2, "the registry says so")
            until(lambda: not old.process.running, _DRAIN_S + 8, "the node's end")
            ended_s = time.monotonic() - began
            for session in sessions:
                session.wait_ready(2)
            load.until_more(100)
        until(lambda: all(one.node == new.node_id for one in sessions), 5, "all on the other node")
        left = sorted(one.left_at[0] - began for one in sessions)
        lost = _lost(load, sessions)
        print(f"drained in {ended_s:.1f} s, sessions left from {left[0]:.1f} to {left[-1]:.1f} s; accepted "
              f"{len(load.accepted)}, lost while on the way {len(lost) - len(_sure(lost))}, "
              f"lost while there {len(_sure(lost))}")  # fmt: skip
        assert old.process.returncode == 0
        assert all(len(one.left_at) == 1 for one in sessions)
        assert left[40] - left[10] > _DRAIN_S * 0.4, "all at once"
        assert not _sure(lost)
        assert not left_in_store(fleet, incarnation)
        assert ended_s < _DRAIN_S + 5
        for session in sessions:
            session.leave()


def _lost(load: Load, sessions: list[Listener]) -> list[tuple[Answer, Listener]]:
    by_key = {one.key: one for one in sessions}
    owed = [(answer, by_key[answer.key]) for answer in load.accepted]
    sure = [(answer, one) for answer, one in owed if _was_there(answer, one)]
    until(lambda: all(answer.push_id in one.counts() for answer, one in sure), 10, "every push to a session there")
    return [(answer, one) for answer, one in owed if answer.push_id not in one.counts()]


def _sure(lost: list[tuple[Answer, Listener]]) -> list[Answer]:
    return [answer for answer, one in lost if _was_there(answer, one)]


def _handshake(node: Node) -> int:
    return requests.get(f"{node.url}/socket.io/?EIO=4&transport=polling", timeout=5).status_code


def test_a_session_that_is_half_connected_when_the_drain_begins_is_closed_not_refused(fleet: Fleet) -> None:
    node = fleet.nodes[0]
    with _restarted(fleet, node):
        with Listener("holds-the-drain").connect(node.url), Listener("holds-it-too").connect(node.url):
            address = node.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
            half = websocket.create_connection(address, timeout=10)
            half.recv()  # the Engine.IO handshake
            node.process.signal(signal.SIGTERM)
            until(lambda: _serving(node) == "NOT_SERVING", 2, "NOT_SERVING")
            half.send("40" + json.dumps({"key": "late"}))
            said = []
            try:
                while packet := half.recv():
                    said.append(str(packet))
            except (websocket.WebSocketException, OSError):
                pass  # closed, as it should be
        print(f"half connected: heard {said}, then the end")
        # After a connect_error (44) a stock client does not come back; after a closed transport it does.
        assert not [packet for packet in said if packet.startswith("44")]
        _ended(node, 10)


def test_a_second_sigterm_hurries(fleet: Fleet) -> None:
    node = fleet.nodes[0]
    with _restarted(fleet, node):
        sessions = [Listener(f"h{number}").connect(node.url) for number in range(20)]
        node.process.signal(signal.SIGTERM)
        until(lambda: any(one.left_at for one in sessions), _DRAIN_S, "the first to go")
        node.process.signal(signal.SIGTERM)
        took_s = _ended(node, _DRAIN_S)
        until(lambda: all(one.left_at for one in sessions), 2, "all gone")
        print(f"a second SIGTERM: ended {took_s:.1f} s after it, drain_s is {_DRAIN_S}")
        assert node.process.returncode == 0
        assert took_s < _DRAIN_S / 2


def test_web_answers_every_request_in_flight_before_it_ends(fleet: Fleet, broker: RabbitMQ) -> None:
    answers: list[int] = []
    count = 20

    def post() -> None:
        answers.append(fleet.push({"keys": ["web-end"], "msg": 1}).status_code)

    with Listener("web-end").connect(fleet.nodes[1].url) as listener:
        callers = [threading.Thread(target=post) for _ in range(count)]
        with frozen(broker.child):
            for caller in callers:
                caller.start()
            until(lambda: metric(fleet.url, "cloudpush_answers_held") == count, 1, "all in flight")
            began = time.monotonic()
            fleet.web.signal(signal.SIGTERM)
            until(lambda: not listens(int(fleet.url.rpartition(":")[2])), 1, "web taking nobody new")
        for caller in callers:
            caller.join(10)
        until(lambda: not fleet.web.running, 10, "web's end")
        ended_s = time.monotonic() - began
        accepted = answers.count(202)
        until(lambda: len(listener.counts()) >= accepted, 10, "what was accepted")
    print(f"web told to end with {count} requests in flight: {accepted} accepted, {answers.count(503)} refused, "
          f"{len(listener.counts())} delivered; ended in {ended_s:.1f} s")  # fmt: skip
    assert fleet.web.returncode == 0
    assert sorted(set(answers)) in ([202], [202, 503], [503])
    assert len(answers) == count
    assert len(listener.counts()) >= accepted
    fleet.web.start()
    fleet.wait_ready()
