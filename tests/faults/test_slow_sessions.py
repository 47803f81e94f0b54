"""Sessions that do not read, vanish, dribble or flood, beside a thousand that do nothing wrong, on a real node."""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise

import grpc
import pytest

from proto import cloud_pb2, cloud_pb2_grpc
from tests.faults.conftest import QUICK
from tests.parts.crowd import Crowd, Member, handshake
from tests.parts.fleet import Fleet, Node
from tests.parts.views import metric
from tests.parts.wire import PING, TEXT, Wires, frame

pytestmark = pytest.mark.services

_LIMIT = 1024 * 1024  # bytes that may wait for a session: the default
_SIZE = 16 * 1024  # bytes of a message
_SLOW = "cloudpush_node_slow_sessions_total"
_JOINS = frame(TEXT, b'427["join","a"]') + frame(TEXT, b'428["leave","a"]')  # each waits for the store
Push = Callable[..., cloud_pb2.PushMsgReply]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {**QUICK, "CLOUDPUSH_LEASE_TTL_S": "10"}


@pytest.fixture
def node(fleet: Fleet) -> Node:
    return fleet.nodes[0]


@pytest.fixture
def push(node: Node) -> Iterator[Push]:
    """Push number *n* to a key over gRPC; gives the node's answer."""
    with grpc.insecure_channel(node.grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        yield lambda key, n, size=_SIZE: stub.PushMsg(request(key, n, size), timeout=10)


def request(key: str, n: int, size: int) -> cloud_pb2.PushMsgReq:
    body = json.dumps({"n": n, "pad": "x" * size}).encode()
    return cloud_pb2.PushMsgReq(keys=[key], proto=cloud_pb2.Proto(ver=1, op=9, body=body))


def resident(node: Node) -> int:
    """Bytes."""
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def crowd(node: Node, count: int, room: str, deaf: int = 0) -> Crowd:
    port = node.socketio_port
    members = [Member(port, f"{room}-{n}", [room], 4096 if n < deaf else None) for n in range(count)]
    return Crowd(members)


def test_of_a_thousand_the_hundred_that_never_read_are_cut_off_and_the_others_get_all(node: Node, push: Push) -> None:
    slow_before = metric(node.url, _SLOW)
    with closing(crowd(node, 1000, "slow", deaf=100)) as everybody:
        deaf, others = everybody.members[:100], everybody.members[100:]
        for member in deaf:
            everybody.ignore(member)
        before, most, sessions, pushed, cut_at = resident(node), 0, list[int](), 0, 0

        while not cut_at or pushed < cut_at + 20:
            assert pushed < 600, "nobody was cut off"
            reply = push("room:slow", pushed)
            assert list(reply.outcomes) == [cloud_pb2.OUTCOME_DELIVERED]
            sessions.append(reply.sessions[0])
            pushed += 1
            everybody.until_pushed(others, pushed - 8)
            if pushed % 5 == 0 or sessions[-1] < 1000:
                most = max(most, resident(node))
            if not cut_at and metric(node.url, _SLOW) - slow_before == 100:
                cut_at = pushed
                everybody.listen(deaf[7])
        everybody.until_pushed(others, pushed)
        everybody.until(lambda: deaf[7].ended, 10, "the end at one that reads again")
        print(
            f"{pushed} messages of {_SIZE} bytes, {pushed * _SIZE / _LIMIT:.1f} MiB a session; cut off by {cut_at}; "
            f"sessions reached {sessions[0]} … {sessions[-1]}; resident {before >> 20} MiB before, {most >> 20} at most"
        )
        assert all(each.numbers == list(range(pushed)) for each in others)
        assert all(later <= earlier for earlier, later in pairwise(sessions))
        assert (sessions[0], sessions[-1]) == (1000, 900)
        assert metric(node.url, _SLOW) - slow_before == 100
        assert most - before < 100 * _LIMIT + 50 * _LIMIT
        assert deaf[7].closed == (1013, "too slow: reconnect")
        assert deaf[7].is_whole
        assert deaf[7].numbers == list(range(len(deaf[7].numbers)))
        assert list(push("slow-3", 0).outcomes) == [cloud_pb2.OUTCOME_NO_SESSION]


def test_three_hundred_that_vanish_in_mid_broadcast_leave_the_others_complete(node: Node) -> None:
    count = 40
    with closing(crowd(node, 600, "vanish")) as everybody, grpc.insecure_channel(node.grpc) as channel:
        stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
        stub.Ping(cloud_pb2.Empty(), timeout=5)
        going, staying = everybody.members[::2], everybody.members[1::2]
        for member in going:
            everybody.ignore(member)
        calls = []
        for number in range(count):
            calls.append(stub.PushMsg.future(request("room:vanish", number, _SIZE), timeout=10))
            for member in going[number * 10 : number * 10 + 10]:
                member.reset()
            calls[-1].result()
            everybody.until_pushed(staying, number - 8)
        everybody.until_pushed(staying, count)
        reached = [call.result().sessions[0] for call in calls]
        print(f"sessions reached: {reached}")
        assert all(each.numbers == list(range(count)) for each in staying)
        assert reached[-1] == 300


def test_connections_that_say_nothing_or_half_a_handshake_hold_nothing_up_and_are_closed(
    node: Node, push: Push
) -> None:
    socks = [socket.create_connection(("127.0.0.1", node.socketio_port), timeout=25) for _ in range(400)]
    request_head, began = handshake(node.socketio_port), time.monotonic()
    for sock in socks[200:]:
        sock.sendall(request_head[:-7])
    with closing(crowd(node, 20, "loris")) as others:
        for number in range(20):
            assert push("room:loris", number, 10).sessions[0] == 20
        others.until_pushed(others.members, 20)
        print(f"20 sessions and 20 pushes to all of them beside 400 slow connections: {time.monotonic() - began:.2f} s")
        with socks.pop() as late:
            late.sendall(request_head[-7:])
            assert late.recv(4096).startswith(b"HTTP/1.1 101")
        drips = socks[-20:]
        while drips:
            assert time.monotonic() < began + 25, f"{len(drips)} that drip are not closed"
            readable, _, _ = select.select(drips, [], [], 0.5)
            drips = [sock for sock in drips if sock not in readable]
            for sock in drips:
                with suppress(ConnectionError):
                    sock.send(b"x")
        for sock in socks:
            with sock, suppress(ConnectionResetError):
                assert sock.recv(4096) == b""
        print(f"the last was closed after {time.monotonic() - began:.1f} s")


class Flood(threading.Thread):
    """Sends *what* for as long as it is taken, and reads whatever is answered, until it is told to stop."""

    def __init__(self, sock: socket.socket, what: bytes) -> None:
        super().__init__(daemon=True)
        self._sock = sock
        self._what = what * (_LIMIT // len(what))
        self._over = threading.Event()
        self.sent = self.held_back = 0

    def run(self) -> None:
        rest = b""
        while not self._over.is_set():
            try:
                rest = rest or self._what
                taken = self._sock.send(rest)
                self.sent, rest = self.sent + taken, rest[taken:]
            except BlockingIOError:
                self.held_back += 1
                select.select([self._sock], [self._sock], [], 0.1)
            with suppress(BlockingIOError):
                self._sock.recv(_LIMIT)

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize(
    "what",
    [frame(PING, b"x"), frame(TEXT, b"3"), frame(TEXT, b'42["nosuch",1]'), _JOINS],
    ids=["ping frames", "pongs", "events", "joins"],
)
def test_a_session_that_floods_is_held_back_and_nobody_else(node: Node, push: Push, what: bytes) -> None:
    before, waits = resident(node), list[float]()
    with closing(crowd(node, 2, "flood")) as both:
        flooding, other = both.members
        both.ignore(flooding)
        flood = Flood(flooding.sock, what)
        flood.start()
        until_s = time.monotonic() + 2
        while time.monotonic() < until_s:
            pushed_s = time.monotonic()
            assert push("flood-1", len(waits), 10).sessions[0] == 1
            both.until_pushed([other], len(waits) + 1)
            waits.append(time.monotonic() - pushed_s)
        flood.stop()
        most = resident(node)
        waits.sort()
        print(
            f"{flood.sent // len(what):,} × {what[6:]!r}, held back {flood.held_back} times; {len(waits)} pushes "
            f"beside it, median {waits[len(waits) // 2] * 1e3:.1f} ms, at most {waits[-1] * 1e3:.1f} ms; "
            f"resident {before >> 20} → {most >> 20} MiB"
        )
        assert other.numbers == list(range(len(waits)))
        assert flood.held_back
        assert most - before < 20 * _LIMIT


def test_polling_sessions_that_never_poll_again_are_bounded_and_end(node: Node, push: Push) -> None:
    slow_before, before, count = metric(node.url, _SLOW), resident(node), 30
    wires = Wires(node)
    with closing(wires):
        sessions = [wires.polling() for _ in range(count)]
        for session in sessions:
            session.connect(json.dumps({"rooms": ["unpolled"]}))
        reached, most = [count], 0
        while reached[-1]:
            reached.append(sum(push("room:unpolled", len(reached)).sessions))
            most = max(most, resident(node))
        print(f"ended after {len(reached)} messages; resident {before >> 20} MiB before, {most >> 20} at most")
        assert len(reached) > _LIMIT // _SIZE
        assert set(reached) == {count, 0}
        assert metric(node.url, _SLOW) - slow_before == count
        assert most - before < 50 * _LIMIT
        assert {session.get().status for session in sessions} == {400}
