"""Where each peer is measured: one server process on a core of its own, started for one round and ended after it.

A peer is told what to send by orders (bench/peers/orders.py); nats-server, which takes none, by a publisher.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from bench.build import Programs
from bench.crowd import Protocol
from bench.peers import nats
from bench.peers.bodies import ALL, FRAME_BYTES, size_within
from bench.pinned import client_core, pinned, server_core
from tests.parts.process import Child, free_port, listens
from tests.parts.redis import RedisServer

OURS, STOCK, NODE, LOOP, NATS = "cloudpush", "python-socketio", "Node socket.io", "Python send loop", "nats-server"
_READY_S = 30.0
_ORDER_S = 120.0
_INSTALL_S = 300
_NODE_HOME = Path(__file__).with_name("peers") / "node_socketio"


class Peer:
    """One running server."""

    protocol: Protocol = "socketio"
    auth = ""  # follows the key in a session's auth object
    says_ready = False
    has_turns = True  # an event loop: there is a difference between what is handed over at once and one by one

    def __init__(self, programs: Programs, child: Child, port: int, orders_port: int) -> None:
        self.port = port
        self._programs = programs
        self._child = child
        self._orders_port = orders_port

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the process has used, to the nanosecond: its clock is clock_getcpuclockid(3)'s."""
        return time.clock_gettime(~self._child.pid << 3 | 2)

    @property
    def rss_kib(self) -> int:
        """Memory of the process now."""
        return self._status("VmRSS")

    @property
    def peak_rss_kib(self) -> int:
        """The most that it ever had."""
        return self._status("VmHWM")

    def await_start(self) -> None:
        """Wait until it takes sessions and orders."""
        for port in (self.port, self._orders_port):
            self._child.until(lambda port=port: listens(port), _READY_S, f"a listener on port {port}")  # type: ignore[misc]

    def burst(self, count: int, *, at_once: bool) -> None:
        """Have it send *count* messages to all: handed over at once, or with a turn of its event loop after each."""
        self._order(do="burst", count=count, at_once=at_once)

    def paced(self, count: int, every_s: float) -> None:
        """Have it send *count* messages to all, one each *every_s*."""
        self._order(do="paced", count=count, every_s=every_s)

    def unicast(self, count: int, sessions: int) -> None:
        """Have it send *count* messages, to each session in turn, as fast as it can."""
        self._order(do="unicast", count=count, sessions=sessions)

    def lag(self) -> Mapping[str, float]:
        """Give how late its event loop was since the last call: p50_ms, p99_ms, max_ms."""
        return self._order(do="lag")

    def offer(self, count: int, interval_ns: int) -> list[str]:
        """Give the command of a program that offers *count* messages to all, one each *interval_ns*."""
        return self._sender("line", count, interval_ns, size_within(ALL), 0)

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self._child.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])

    def _sender(self, form: str, count: int, interval_ns: int, size: int, sessions: int) -> list[str]:
        numbers = map(str, (self._orders_port, count, interval_ns, size, sessions))
        return pinned(client_core(), [str(self._programs.sender), form, *numbers])

    def _order(self, **order: Any) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self._orders_port), timeout=_ORDER_S) as connection:
            connection.sendall(json.dumps(order).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        if not line:
            raise RuntimeError(f"{self._child.name} did not carry out {order}:\n{self._child.tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class SendLoopPeer(Peer):
    """The plain loop, which has no event loop to be late."""

    protocol: Protocol = "raw"
    has_turns = False


class CloudPushPeer(Peer):
    """Ours; messages are offered through gRPC."""

    auth = ',"rooms":["bench"]'
    says_ready = True
    grpc_port = 0

    def offer(self, count: int, interval_ns: int) -> list[str]:
        """See Peer."""
        return self.grpc("fanout", count, interval_ns)

    def large_burst(self, count: int, size: int) -> None:
        """Have it send *count* messages with a body of *size* bytes to all, with a turn of its hub after each."""
        self._order(do="burst", count=count, at_once=False, size=size)

    def counter(self, name: str) -> float:
        """Give one of the node's metrics."""
        page = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=_READY_S).text
        return float(next(line for line in page.splitlines() if line.startswith(f"{name} ")).split()[1])

    def grpc(self, *arguments: object) -> list[str]:
        """Give the command of bench/grpc_offer.py."""
        words = [sys.executable, "-m", "bench.grpc_offer", str(self.grpc_port), *map(str, arguments)]
        return pinned(client_core(), words)


class NatsPeer(Peer):
    """nats-server: its orders port is that of its own protocol, and a publisher carries them out."""

    protocol: Protocol = "nats"
    has_turns = False

    def burst(self, count: int, *, at_once: bool) -> None:  # noqa: ARG002
        """See Peer."""
        run(self._sender("nats", count, 0, FRAME_BYTES, 0))

    def paced(self, count: int, every_s: float) -> None:
        """See Peer."""
        run(self._sender("nats", count, int(every_s * 1e9), FRAME_BYTES, 0))

    def unicast(self, count: int, sessions: int) -> None:
        """See Peer."""
        run(self._sender("nats", count, 0, FRAME_BYTES, sessions))

    def offer(self, count: int, interval_ns: int) -> list[str]:
        """See Peer."""
        return self._sender("nats", count, interval_ns, FRAME_BYTES, 0)


def run(command: list[str], timeout_s: float = _ORDER_S) -> dict[str, Any]:
    """Run a program that prints one JSON object."""
    told: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=timeout_s).stdout
    )
    return told


class Stand:
    """Starts peers by name; *home* is a directory for logs and data."""

    def __init__(self, home: Path, programs: Programs) -> None:
        self._home = home
        self.programs = programs
        self._started = 0

    @contextmanager
    def peer(self, name: str) -> Iterator[Peer]:
        """Run a peer, ready for sessions."""
        self._started += 1
        port, orders_port = free_port(), free_port()
        if name == OURS:
            with self._cloudpush(port, orders_port) as ours:
                yield ours
            return
        python, words = [sys.executable, "-m"], [str(port), str(orders_port)]
        commands = {
            STOCK: [*python, "bench.peers.stock_node", *words],
            LOOP: [*python, "bench.peers.send_loop", *words],
            NODE: [_node("process.execPath"), str(_NODE_HOME / "server.js"), *words],
        }
        argv = nats.command(self._home, orders_port, port) if name == NATS else commands[name]
        kind = {LOOP: SendLoopPeer, NATS: NatsPeer}.get(name, Peer)
        with self._running(kind, name, argv, port, orders_port) as peer:
            yield peer

    @contextmanager
    def _cloudpush(self, port: int, orders_port: int) -> Iterator[Peer]:
        redis = RedisServer(self._home / f"redis-{self._started}")
        redis.start()
        os.sched_setaffinity(redis.child.pid, {client_core()})
        try:
            grpc_port = free_port()
            words = [str(port), str(orders_port), str(grpc_port), redis.url]
            argv = [sys.executable, "-m", "bench.peers.cloudpush_node", *words]
            with self._running(CloudPushPeer, OURS, argv, port, orders_port) as peer:
                assert isinstance(peer, CloudPushPeer)
                peer.grpc_port = grpc_port
                yield peer
        finally:
            redis.kill()

    @contextmanager
    def _running(self, kind: type[Peer], name: str, argv: list[str], port: int, orders_port: int) -> Iterator[Peer]:
        log = self._home / f"{name.replace(' ', '-')}-{self._started}.log"
        child = Child(name, pinned(server_core(), argv), log=log, env=dict(os.environ))
        child.start()
        try:
            peer = kind(self.programs, child, port, orders_port)
            peer.await_start()
            yield peer
        finally:
            child.kill()


def provide_node() -> dict[str, str]:
    """Install socket.io from its lock file into a git-ignored folder; gives the versions of what runs."""
    installed = _NODE_HOME / "node_modules" / ".package-lock.json"
    lock = _NODE_HOME / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        print("» npm ci, for Node's socket.io", flush=True)
        subprocess.run(["npm", "ci", "--silent"], cwd=_NODE_HOME, check=True, timeout=_INSTALL_S)
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    found = {f"{name} (Node)": packages[f"node_modules/{name}"]["version"] for name in ("socket.io", "ws")}
    return {"node": _node("process.version"), **found}


def _node(expression: str) -> str:
    """Ask Node for its version, or its path: what PATH names may be a script that starts it as a child."""
    told = subprocess.run(["node", "-p", expression], check=True, capture_output=True, text=True, timeout=_READY_S)
    return told.stdout.strip()
