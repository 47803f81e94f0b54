"""``make bench-latency``: light load from a REST call to a connected websocket, beside a peer without guarantees.

Two nodes each, one store, RabbitMQ; 500 pushes at 50 a second a round; rounds take turns.  A message is timed from just
before its POST to its arrival on the websocket, in one process and on one clock.  Durable pushes go the same way on the
same fleet; BEFORE names another checkout, whose ephemeral pushes take turns with them.
"""

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from bench.report import Report, cpu_seconds, percentile
from bench.sessions import Session
from tests.parts.fleet import ROOT, Fleet
from tests.parts.process import Child, free_port
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

OURS, DURABLE, BEFORE, PEER = "cloudpush", "cloudpush, durable", "cloudpush before", "RedisManager"
PUSHES = 500
RATE_PER_S = 50
ROUNDS = 3
SESSIONS = 20
_ARRIVE_S = 10.0
_READY_S = 30.0


class Target:
    """One system under test: where to POST, and which processes spend CPU on it."""

    def __init__(
        self,
        name: str,
        url: str,
        path: str,
        nodes: list[str],
        processes: Mapping[str, int],
        fields: Mapping[str, Any] = {},
    ) -> None:
        self.name = name
        self.path = path
        self._fields = fields
        self.processes = processes
        self._sent: dict[int, float] = {}
        self._arrived: dict[int, float] = {}
        self._all_here = threading.Event()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_ARRIVE_S)
        self._number = 0
        self._prefix = "bench-durable" if fields else "bench"
        self._sessions = [Session(nodes[i % len(nodes)], f"{self._prefix}-{i}", self._note) for i in range(SESSIONS)]

    def run(self, report: Report | None) -> None:
        """Push PUSHES messages at RATE_PER_S; take figures into *report*, if any (the first run only warms up)."""
        self._sent.clear()
        self._arrived.clear()
        self._all_here.clear()
        before = {tier: cpu_seconds(pid) for tier, pid in self.processes.items()}
        answers = []
        began = time.perf_counter()
        for i in range(PUSHES):
            time.sleep(max(0.0, began + i / RATE_PER_S - time.perf_counter()))
            answers.append(self._post(f"{self._prefix}-{i % SESSIONS}"))
        self._all_here.wait(_ARRIVE_S)
        if report is None:
            return
        latencies = [(self._arrived[n] - at) * 1000 for n, at in self._sent.items() if n in self._arrived]
        report.add(self.name, "REST to websocket p50", "ms", percentile(latencies, 50))
        report.add(self.name, "REST to websocket p99", "ms", percentile(latencies, 99))
        report.add(self.name, "REST answer p50", "ms", percentile(answers, 50))
        report.add(self.name, "REST answer p99", "ms", percentile(answers, 99))
        report.add(self.name, "missing", "messages", PUSHES - len(latencies))
        for tier, pid in self.processes.items():
            report.add(self.name, f"CPU {tier}", "ms a push", (cpu_seconds(pid) - before[tier]) * 1000 / PUSHES)

    def close(self) -> None:
        """Disconnect the sessions."""
        for session in self._sessions:
            session.close()

    def _post(self, key: str) -> float:
        self._number += 1
        body = json.dumps({"keys": [key], "op": 9, "msg": {"n": self._number}, **self._fields})
        self._sent[self._number] = at = time.perf_counter()
        self._connection.request("POST", self.path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if response.status != http.client.ACCEPTED:
            raise RuntimeError(f"{self.name} answered {response.status}: {text.decode()}")
        return (time.perf_counter() - at) * 1000

    def _note(self, number: int, at: float) -> None:
        self._arrived.setdefault(number, at)
        if len(self._arrived) == PUSHES:
            self._all_here.set()


@contextmanager
def services(home: Path) -> Iterator[tuple[str, str, RabbitMQ | None]]:
    """Give the URLs of RabbitMQ and Redis: those of the environment, else private ones; and the private RabbitMQ."""
    with ExitStack() as stack:
        rabbitmq = None
        broker_url, store_url = os.environ.get("RABBITMQ_URL"), os.environ.get("REDIS_URL")
        if broker_url is None:
            rabbitmq = RabbitMQ(home / "rabbitmq")
            stack.callback(rabbitmq.close)
            rabbitmq.start()
            broker_url = rabbitmq.url
        if store_url is None:
            redis = RedisServer(home / "redis")
            stack.callback(redis.kill)
            redis.start()
            store_url = redis.url
        yield broker_url, store_url, rabbitmq


@contextmanager
def cloudpush(home: Path, broker_url: str, store_url: str, before: Path | None = None) -> Iterator[list[Target]]:
    """Run the whole of cloudpush, or that of another checkout."""
    fleet = Fleet(home, broker_url, store_url, settings={"CLOUDPUSH_SETTLE_S": "0"}, root=before or ROOT)
    fleet.start()
    try:
        children = {
            "web": fleet.web,
            "worker": fleet.worker,
            **{f"node {i}": n.process for i, n in enumerate(fleet.nodes)},
        }
        where = (fleet.url, "/v1/pushes", [n.url for n in fleet.nodes], _pids(children))
        if before is not None:
            targets = [Target(BEFORE, *where)]
        else:
            targets = [Target(OURS, *where), Target(DURABLE, *where, {"durable": True})]
        yield targets
        for target in targets:
            target.close()
    finally:
        fleet.stop()


@contextmanager
def redis_manager(home: Path, store_url: str) -> Iterator[Target]:
    """Run the peer: a Flask route with a write-only RedisManager, and two stock nodes."""
    ports = [free_port() for _ in range(3)]
    names = ("redis_manager_web", "redis_manager_node", "redis_manager_node")
    children = {
        label: Child(
            f"{name}-{port}",
            [sys.executable, "-m", f"bench.peers.{name}", str(port), store_url],
            log=home / f"{name}-{port}.log",
            env=dict(os.environ),
        )
        for label, name, port in zip(("web", "node 0", "node 1"), names, ports, strict=True)
    }
    try:
        for child, port in zip(children.values(), ports, strict=True):
            child.start()
            child.until(_listens(port), _READY_S, f"an answer on port {port}")
        url, *nodes = (f"http://127.0.0.1:{port}" for port in ports)
        target = Target(PEER, url, "/emit", nodes, _pids(children))
        yield target
        target.close()
    finally:
        for child in children.values():
            child.kill()


def _pids(children: Mapping[str, Child]) -> dict[str, int]:
    return {tier: child.pid for tier, child in children.items()}


def _ratio(report: Report, peer: str, other: str, figure: str) -> float:
    return round(report.median(peer, figure) / report.median(other, figure), 3)


def _listens(port: int) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return bool(requests.get(f"http://127.0.0.1:{port}/", timeout=1).status_code)
        except requests.RequestException:
            return False

    return answers


@contextmanager
def flower(home: Path, broker_url: str) -> Iterator[str]:
    """Run Flower on the same broker, as `make run` does; it listens to the events of every task."""
    port = free_port()
    env = os.environ | {"RABBITMQ_URL": broker_url, "FLOWER_UNAUTHENTICATED_API": "true"}
    arguments = [sys.executable, "-m", "celery", "-A", "tasks", "flower", "--address=127.0.0.1", f"--port={port}"]
    child = Child("flower", arguments, log=home / "flower.log", env=env)
    try:
        child.start()
        child.until(_listens(port), _READY_S, f"Flower on port {port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()


def tasks_that_flower_saw(url: str) -> dict[str, int]:
    """Count Flower's push tasks by state."""
    answer = requests.get(
        f"{url}/api/tasks", params={"limit": "10000", "taskname": "cloudpush.push"}, timeout=10
    ).json()
    states: dict[str, int] = {}
    for task in answer.values():
        states[task["state"]] = states.get(task["state"], 0) + 1
    return states


def main() -> None:
    """Run all rounds, print the table, write bench/results/latency.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="Light load, side by side.")
    parser.add_argument("--before", type=Path, help="another checkout of cloudpush to take turns with")
    before = parser.parse_args().before
    report = Report("latency")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudpush-bench-")))
        broker_url, store_url, rabbitmq = stack.enter_context(services(home))
        monitor = stack.enter_context(flower(home, broker_url))
        targets = [
            *stack.enter_context(cloudpush(home, broker_url, store_url)),
            stack.enter_context(redis_manager(home, store_url)),
        ]
        if before is not None:
            (home / "before").mkdir()
            if rabbitmq is None:
                parser.error("--before needs a RabbitMQ of the bench's own: unset RABBITMQ_URL")
            vhost = rabbitmq.add_vhost("before")
            targets += stack.enter_context(cloudpush(home / "before", vhost, store_url, before.resolve()))
        for target in targets:
            target.run(None)
        for number in range(ROUNDS):
            for target in targets:
                print(f"» round {number + 1} of {ROUNDS}: {target.name}, {PUSHES} pushes at {RATE_PER_S}/s", flush=True)
                target.run(report)
        seen = tasks_that_flower_saw(monitor)
    for percent in ("p50", "p99"):
        ours, peer = (report.median(name, f"REST to websocket {percent}") for name in (OURS, PEER))
        report.ratios[f"{percent}_vs_redis_manager"] = round(ours / peer, 3)
        report.ratios[f"durable_{percent}_vs_ephemeral"] = _ratio(report, DURABLE, OURS, f"REST to websocket {percent}")
        if before is not None:
            report.ratios[f"{percent}_vs_before"] = _ratio(report, OURS, BEFORE, f"REST to websocket {percent}")
    for tier in ("web", "worker", "node 0", "node 1"):
        report.ratios[f"durable_cpu_{tier.replace(' ', '_')}_vs_ephemeral"] = _ratio(
            report, DURABLE, OURS, f"CPU {tier}"
        )
    report.finish(flower_tasks=seen)
    print(f"Flower saw cloudpush.push tasks: {seen}")


if __name__ == "__main__":
    main()
