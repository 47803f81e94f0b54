"""Fuzzes a live node on all its doors, beside a session that must go on getting its pushes.

    python -m tests.fuzz.node SECONDS [SEED]

Starts a Redis and a node of its own.  Ends with what became of each connection, by kind, and with what must be as it
was: the good session has every push in order, the node answers, its log has no exception, its sessions, file
descriptors and memory are back where they were.  Exits 1 when one is not.
"""

import contextlib
import http.client
import json
import os
import random
import re
import selectors
import socket
import struct
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

import grpc

from proto import cloud_pb2, cloud_pb2_grpc
from tests.fuzz.node_inputs import KINDS, pieces, sid_of
from tests.parts.crowd import Crowd, Member
from tests.parts.fleet import Fleet, Node
from tests.parts.process import NotInTime, listens
from tests.parts.redis import RedisServer
from tests.parts.views import metric

_OPEN_AT_MOST, _OPEN_S = 200, 0.3
_PUSH_EVERY_S = 0.02
_BACK_S = 20.0  # for the node to have forgotten all: sessions that poll no more are found by their pings
_SETTINGS = {"CLOUDPUSH_PING_INTERVAL_S": "2", "CLOUDPUSH_PING_TIMEOUT_S": "2"}
_MORE_FDS, _MORE_MIB = 5, 48
_LINGER_0 = struct.pack("ii", 1, 0)


@dataclass
class Line:
    """One connection that was told something."""

    kind: str
    sock: socket.socket
    born_s: float
    got: bytes = b""

    def outcome(self, *, closed: bool) -> str:
        """Name what the node made of it."""
        status = re.match(rb"HTTP/1\.[01] (\d+)", self.got)
        name = status[1].decode() if status else "nothing said" if not self.got else "no HTTP"
        if name == "101" and (code := _close_code(self.got.partition(b"\r\n\r\n")[2])):
            name = f"101, Close {code}"
        return f"{name}, {'closed' if closed else 'open'}"


class Fuzz:
    """Says things to *node*."""

    def __init__(self, node: Node, seed: int) -> None:
        self._port = node.socketio_port
        self._dice = random.Random(seed)
        self._lines = selectors.DefaultSelector()
        self._by_age: deque[Line] = deque()
        self._sids: deque[str] = deque(maxlen=4)
        self.outcomes: Counter[str] = Counter()

    def turn(self) -> None:
        """Open one connection, read what came on the others, close the old ones."""
        kind = self._dice.choice(list(KINDS))
        data = KINDS[kind](self._dice, self._sid())
        line = Line(kind, socket.create_connection(("127.0.0.1", self._port), timeout=5), time.monotonic())
        with contextlib.suppress(ConnectionError):  # the node need not read what it refuses
            for piece in pieces(data, self._dice):
                line.sock.sendall(piece)
        line.sock.setblocking(False)
        self._lines.register(line.sock, selectors.EVENT_READ, line)
        self._by_age.append(line)
        for key, _ in self._lines.select(0):
            self._read(key.data)
        while len(self._by_age) > _OPEN_AT_MOST or (
            self._by_age and time.monotonic() - self._by_age[0].born_s > _OPEN_S
        ):
            self._end(self._by_age.popleft(), closed=False)

    def stop(self) -> None:
        """Close all."""
        while self._by_age:
            self._end(self._by_age.popleft(), closed=False)

    def _sid(self) -> str:
        if not self._sids or not self._dice.randrange(3):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/socket.io/?EIO=4&transport=polling")
                self._sids.append(sid_of(connection.getresponse().read()))
        return self._dice.choice(self._sids)

    def _read(self, line: Line) -> None:
        try:
            data = line.sock.recv(65536)
        except ConnectionError:
            data = b""
        line.got += data
        if not data:
            self._end(line, closed=True)

    def _end(self, line: Line, *, closed: bool) -> None:
        if line.sock.fileno() < 0:
            return
        self.outcomes[f"{line.kind}: {line.outcome(closed=closed)}"] += 1
        self._lines.unregister(line.sock)
        if not self._dice.randrange(3):
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        line.sock.close()


def _close_code(data: bytes) -> int:
    """Find the code of the Close frame in what a node sent; 0 when there is none."""
    at = 0
    while len(data) - at >= 2:
        size, start = data[at + 1], at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start], "big")
        if data[at] == 0x88:
            return int.from_bytes(data[start : start + 2], "big")
        at = start + size
    return 0


class Good:
    """A session that does nothing wrong, and what it is pushed."""

    def __init__(self, node: Node) -> None:
        self._channel = grpc.insecure_channel(node.grpc)
        self._stub = cloud_pb2_grpc.CloudStub(self._channel)  # type: ignore[no-untyped-call]
        self._crowd = Crowd([Member(node.socketio_port, "good", ["a"])])
        self.count, self._due_s = 0, 0.0
        self.longest_s = 0.0

    def turn(self) -> None:
        """Push the next number, if it is time, and wait for it."""
        began = time.monotonic()
        if began < self._due_s:
            return
        proto = cloud_pb2.Proto(ver=1, op=9, body=json.dumps({"n": self.count}).encode())
        reply = self._stub.PushMsg(cloud_pb2.PushMsgReq(keys=["good"], proto=proto), timeout=10)
        assert list(reply.sessions) == [1], f"push {self.count}: {reply}"
        self.count += 1
        self._crowd.until_pushed(self._crowd.members, self.count, 10)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self._due_s = began + _PUSH_EVERY_S

    @property
    def is_complete(self) -> bool:
        """Whether it has all, in order."""
        return self._crowd.members[0].numbers == list(range(self.count))

    def wait(self, seconds: float) -> None:
        """Answer pings for a while."""
        with contextlib.suppress(NotInTime):
            self._crowd.until(lambda: False, seconds, "")

    def close(self) -> None:
        """Leave."""
        self._crowd.close()
        self._channel.close()


@dataclass(frozen=True)
class Held:
    """What a node holds."""

    fds: int
    mib: int
    sessions: int

    @classmethod
    def by(cls, node: Node) -> "Held":
        """Look."""
        process = Path(f"/proc/{node.process.pid}")
        mib = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        return cls(len(list((process / "fd").iterdir())), mib, int(metric(node.url, "cloudpush_node_sessions")))

    def is_as(self, before: "Held") -> bool:
        """Whether it is no more than *before*, but for what any work leaves."""
        return self.fds <= before.fds + _MORE_FDS and self.sessions <= 1 and self.mib <= before.mib + _MORE_MIB


def fuzz(node: Node, seconds: float, seed: int) -> list[str]:
    """Fuzz *node* and print all; gives what is not as it must be."""
    with contextlib.closing(Good(node)) as good:
        fuzz, before, began = Fuzz(node, seed), Held.by(node), time.monotonic()
        while time.monotonic() < began + seconds:
            good.turn()
            fuzz.turn()
        fuzz.stop()
        deadline = time.monotonic() + _BACK_S
        while not (after := Held.by(node)).is_as(before) and time.monotonic() < deadline:
            good.wait(0.5)
        for outcome, times in sorted(fuzz.outcomes.items()):
            print(f"{times:>9,}  {outcome}")
        log = node.process.log.read_text(encoding="utf-8", errors="replace")
        print(
            f"good session: {good.count:,} pushes, the slowest {good.longest_s * 1e3:.0f} ms; node: {before} → {after}"
        )
        for event, times in _errors(log).most_common():
            print(f"{times:>9,}  logged as an error: {event}")
        print(
            f"connections: {fuzz.outcomes.total():,} in {seconds:.0f} s; distinct outcomes: {len(fuzz.outcomes)}",
            flush=True,
        )
        checks = {
            "the good session missed a push": good.is_complete,
            "the node does not serve any more": node.process.running and listens(node.socketio_port),
            "the node holds more than before": after.is_as(before),
            "the node's log has an exception": "Traceback" not in log,
        }
        return [flaw for flaw, fine in checks.items() if not fine]


def _errors(log: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in log.splitlines():
        if line.startswith("{") and '"level": "error"' in line:
            event = json.loads(line)
            found[f"{event['event']}: {event.get('reason', '')}"[:100]] += 1
    return found


def main(arguments: list[str]) -> int:
    """Start, fuzz for the seconds given, end."""
    seconds, seed = float(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 1
    print(f"fuzzing a node (seed {seed}) for {seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="cloudpush-fuzz-") as home:
        store = RedisServer(Path(home))
        # Nobody listens there: a node without a broker is not ready, but it serves.
        fleet = Fleet(Path(home), "amqp://guest:guest@127.0.0.1:9/", store.url, settings=_SETTINGS)
        try:
            store.start()
            node = fleet.start_node(wait=False)
            node.process.until(
                lambda: listens(node.socketio_port) and listens(node.grpc_port), 30, "a node that serves"
            )
            flaws = fuzz(node, seconds, seed)
            if flaws:
                print(f"flaws: {'; '.join(flaws)}\n--- end of the node's log\n{node.process.tail()}", flush=True)
            return 1 if flaws else 0
        finally:
            fleet.kill()
            store.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
