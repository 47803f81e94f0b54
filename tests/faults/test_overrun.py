"""A session that does not read, a flood of calls, and tasks that no worker can do: each ends by name."""

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import amqp
import grpc
import pytest
import requests
import websocket

from bench.sessions import Session
from proto import cloud_pb2, cloud_pb2_grpc
from proto import task as task_message
from tests.faults.conftest import QUICK
from tests.parts.faults import frozen
from tests.parts.fleet import Fleet, Node
from tests.parts.listener import Listener
from tests.parts.process import until
from tests.parts.views import channel_to, dead_letters, metric, online, ready

pytestmark = pytest.mark.services

_MB = 1024 * 1024


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {**QUICK, "CLOUDPUSH_LEASE_TTL_S": "10", "CLOUDPUSH_BRIDGE_CAPACITY": "4"}


def _request(keys: list[str], number: int, size: int = 0) -> cloud_pb2.PushMsgReq:
    body = json.dumps({"n": number, "pad": "x" * size}).encode()
    return cloud_pb2.PushMsgReq(
        keys=keys, proto=cloud_pb2.Proto(ver=1, op=9, body=body), protoOp=9, push_id=f"overrun-{os.urandom(6).hex()}"
    )


def _resident_mb(node: Node) -> float:
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MB


def _deaf_websocket(node: Node, key: str) -> Iterator[Any]:
    address = node.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    sock = websocket.create_connection(address, timeout=10, sockopt=((socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384),))
    sock.recv()
    sock.send("40" + json.dumps({"key": key}))
    yield sock
    sock.close()


def _deaf_polling(node: Node, key: str) -> Iterator[Any]:
    with requests.Session() as caller:
        address = f"{node.url}/socket.io/?EIO=4&transport=polling"
        sid = json.loads(caller.get(address, timeout=5).text[1:])["sid"]
        caller.post(f"{address}&sid={sid}", data="40" + json.dumps({"key": key}), timeout=5)
        yield caller


@pytest.mark.parametrize("deaf", [_deaf_websocket, _deaf_polling], ids=["websocket", "polling"])
def test_a_session_that_does_not_read_is_closed_and_the_others_get_everything_in_order(fleet: Fleet, deaf: Any) -> None:
    node, count = fleet.nodes[0], 5_000
    slow_before, key = metric(node.url, "cloudpush_node_slow_sessions_total"), f"deaf-{deaf.__name__}"
    connection = deaf(node, key)
    next(connection)
    got: list[int] = []
    reads = Session(
        node.url, "reads", lambda number, _at: got.append(number)
    )  # a stock client would not keep the order
    with closing(reads), grpc.insecure_channel(node.grpc) as channel:
        until(lambda: online(fleet, key) == 1, 5, "the deaf session")
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        before_mb, most_mb = _resident_mb(node), 0.0
        outcomes: Counter[int] = Counter()
        for number in range(count):
            reply = stub.PushMsg(_request([key, "reads"], number, size=4096), timeout=10)
            outcomes[reply.outcomes[0]] += 1
            assert reply.outcomes[1] == cloud_pb2.OUTCOME_DELIVERED
            if number % 100 == 0:
                most_mb = max(most_mb, _resident_mb(node))
        until(lambda: len(got) == count, 20, "everything at the session that reads")
        until(lambda: online(fleet, key) == 0, 5, "the deaf session gone")
        closed = metric(node.url, "cloudpush_node_slow_sessions_total") - slow_before
        named = {cloud_pb2.Outcome.Name(outcome): times for outcome, times in outcomes.items()}
        print(f"{key}: {named}; resident {before_mb:.0f} MB before, {most_mb:.0f} MB at most; "
              f"the other session got {len(got)} in order")  # fmt: skip
        assert got == list(range(count))
        assert closed == 1
        assert named["OUTCOME_SLOW"] == 1
        assert most_mb - before_mb < 60
    connection.close()


def test_a_flood_of_calls_is_refused_by_name_and_over_when_it_ends(fleet: Fleet) -> None:
    node, count = fleet.nodes[1], 3_000
    with Listener("flooded").connect(node.url) as flooded, grpc.insecure_channel(node.grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        stub.Ping(cloud_pb2.Empty(), timeout=5)
        with frozen(node.process):
            calls = [stub.PushMsg.future(_request(["flooded"], number), timeout=15) for number in range(count)]
        codes = {number: call.code() for number, call in enumerate(calls)}
        counts = Counter(code.name for code in codes.values())
        done = {number for number, code in codes.items() if code is grpc.StatusCode.OK}
        refused = {number for number, code in codes.items() if code is grpc.StatusCode.RESOURCE_EXHAUSTED}
        until(lambda: {push["msg"]["n"] for push in list(flooded.pushes)} >= done, 10, "what was answered with OK")
        got = Counter(push["msg"]["n"] for push in flooded.pushes)
        print(f"{count} calls at once: {dict(counts)}, delivered {len(got)}")
        # CANCELLED: gRPC itself turned it away, before it was a call of ours.
        refused |= {number for number, code in codes.items() if code is grpc.StatusCode.CANCELLED}
        assert done | refused == codes.keys(), "an ending without a name"
        assert done
        assert counts["RESOURCE_EXHAUSTED"], "the bridge was never full: the test would prove nothing"
        assert not refused & got.keys(), "delivered although the caller was told that it was not"
        assert set(got.values()) == {1}
        after = stub.PushMsg(_request(["flooded"], -1), timeout=2)
        assert list(after.outcomes) == [cloud_pb2.OUTCOME_DELIVERED]
    until(lambda: ready(node.url)[0] == 200, 10, "ready again")


def test_pushes_accepted_during_a_flood_arrive_all_the_same(fleet: Fleet) -> None:
    node = fleet.nodes[1]
    with Listener("beside-the-flood").connect(node.url) as session, grpc.insecure_channel(node.grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        with frozen(node.process):
            flood = [stub.PushMsg.future(_request(["nobody"], number), timeout=10) for number in range(2_000)]
            with ThreadPoolExecutor(8) as callers:
                answers = list(callers.map(lambda _: fleet.push({"keys": ["beside-the-flood"], "msg": 1}), range(50)))
        assert {answer.status_code for answer in answers} == {202}
        session.wait_for([answer.json()["push_id"] for answer in answers], 30)
        counts = Counter(call.code().name for call in flood)
        twice = [push_id for push_id, times in session.counts().items() if times > 1]
        print(f"flood {dict(counts)}; {len(answers)} pushes beside it arrived, {len(twice)} twice")
        assert not twice


def _good(**changes: object) -> dict[str, Any]:
    payload: dict[str, Any] = {"v": 1, "push_id": "poison", "keys": ["k"], "op": 9, "body": "1", "priority": "normal"}
    return payload | changes


_POISON: dict[str, list[Any]] = {
    "not a push": [["no mapping"]],
    "nothing": [[{}]],
    "keys that are a number": [[_good(keys=5)]],
    "keys that are a string": [[_good(keys="k")]],
    "no keys": [[_good(keys=[])]],
    "an op that is text": [[_good(op="many")]],
    "an op beyond 32 bits": [[_good(op=1 << 40)]],
    "a time that is infinite": [[_good(expires_ms=float("inf"))]],
    "an unknown priority": [[_good(priority="urgent")]],
    "a server that is a list": [[_good(server=["a"])]],
    "done that is a list": [[_good(done=["k"])]],
    "too many arguments": [[_good(), 1]],
    "no arguments": [[]],
}


def _publish(fleet: Fleet, body: bytes, headers: dict[str, Any], content_type: str = "application/json") -> None:
    message = amqp.Message(
        body, application_headers=headers, content_type=content_type, content_encoding="utf-8", delivery_mode=2
    )
    with channel_to(fleet.broker_url) as channel:
        channel.basic_publish_confirm(message, "cloudpush", "cloudpush.normal", timeout=5)


def _flows(fleet: Fleet) -> None:
    with Listener("after-poison").connect(fleet.nodes[0].url) as session:
        answer = fleet.push({"keys": ["after-poison"], "msg": 1})
        session.wait_for([answer.json()["push_id"]], 5)


@pytest.mark.parametrize("name", _POISON)
def test_a_poisonous_task_ends_as_a_dead_letter(fleet: Fleet, name: str) -> None:
    body, headers = task_message.message("cloudpush.push", os.urandom(8).hex(), _POISON[name][0], "()")
    _publish(fleet, json.dumps(body).encode(), headers)
    (letter_headers, letter), *more = dead_letters(fleet, 1)
    why = letter["reason"] if isinstance(letter, dict) else letter_headers["x-death"][0]["reason"]
    print(f"{name}: {why}: {letter['details'] if isinstance(letter, dict) else ''}")
    assert not more
    _flows(fleet)


@pytest.mark.parametrize(
    ("body", "content_type", "task"),
    [
        (b"{no json", "application/json", "cloudpush.push"),
        (b"\xff\xfe", "application/json", "cloudpush.push"),
        (b'"text"', "application/json", "cloudpush.push"),
        (b"\x80\x04N.", "application/x-python-serialize", "cloudpush.push"),
        (b"[[], {}, 5]", "application/json", "cloudpush.push"),
        (b"[[], {}, {}]", "application/json", "cloudpush.unheard-of"),
        (b"plain", "text/plain", None),
    ],
    ids=["not-json", "not-text", "no-task-body", "pickle", "embed-number", "unknown-task", "no-task-at-all"],
)
def test_what_is_no_task_ends_as_a_dead_letter(fleet: Fleet, body: bytes, content_type: str, task: str | None) -> None:
    headers = task_message.message(task, os.urandom(8).hex(), [], "()")[1] if task else {}
    _publish(fleet, body, headers, content_type)
    (letter_headers, _), *more = dead_letters(fleet, 1)
    assert letter_headers["x-death"][0]["reason"] == "rejected"
    assert not more
    _flows(fleet)


@pytest.mark.parametrize("header", [{"timelimit": "x"}, {"eta": "never"}, {"expires": "never"}, {"task": 5}], ids=str)
def test_headers_that_make_no_sense_end_their_task_as_a_dead_letter(fleet: Fleet, header: dict[str, Any]) -> None:
    body, headers = task_message.message("cloudpush.push", os.urandom(8).hex(), [_good()], "()")
    _publish(fleet, json.dumps(body).encode(), headers | header)
    (letter_headers, _), *more = dead_letters(fleet, 1)
    assert letter_headers["x-death"][0]["reason"] == "rejected"
    assert not more
    _flows(fleet)


def test_a_huge_task_ends_as_a_dead_letter_and_not_again_and_again(fleet: Fleet) -> None:
    with Listener("huge").connect(fleet.nodes[0].url) as session:
        payload = _good(push_id="huge", keys=["huge"], body=json.dumps("x" * 8 * _MB))
        body, headers = task_message.message("cloudpush.push", os.urandom(8).hex(), [payload], "()")
        _publish(fleet, json.dumps(body).encode(), headers)
        (_, letter), *more = dead_letters(fleet, 1, timeout_s=10)
        print(f"huge: {letter['reason']}: {letter['details'][:120]}")
        assert letter["reason"] == "node_refused"
        assert not more
        assert not session.pushes
    _flows(fleet)
