"""What bench-ingest measures, each with a web process, a node and what lies between: all start once and take turns.

RabbitMQ and the store are shared, private ones unless the environment names others.  Nothing is pinned: all processes
of a peer and the load share the same two cores, as on a small machine.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.build import Programs
from bench.ingest_load import Load, load
from bench.tiers import Leader, Tiers
from tests.parts.fleet import Fleet
from tests.parts.process import Child, free_port, listens
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

OURS, PLAIN, EMITTER, NOOP = "cloudpush", "plain pipeline", "RedisManager", "no-op route"
SESSIONS = 1_000
_READY_S = 30.0


@dataclass
class Services:
    """The broker and the store, and their processes where they are ours to look at."""

    broker_url: str
    store_url: str
    processes: Mapping[str, Leader]
    rabbitmq: RabbitMQ | None

    def vhost(self, name: str) -> str:
        """Give a virtual host of its own, if the broker is ours; else the one that there is."""
        return self.broker_url if self.rabbitmq is None else self.rabbitmq.add_vhost(name)


@dataclass
class Peer:
    """One thing under test; *node_port* 0: it delivers nothing."""

    name: str
    web_port: int
    path: str
    node_port: int
    tiers: Tiers
    load: Load
    broker_url: str = ""
    fleet: Fleet | None = None
    own: tuple[str, ...] = ("web", "worker", "node")  # tiers, without what they stand on
    tail: Callable[[], str] = str  # the last lines of its node's log


@contextmanager
def services(home: Path) -> Iterator[Services]:
    """Run RabbitMQ and Redis, or take those that RABBITMQ_URL and REDIS_URL name."""
    with ExitStack() as stack:
        processes: dict[str, Leader] = {}
        broker_url, store_url, rabbitmq = os.environ.get("RABBITMQ_URL"), os.environ.get("REDIS_URL"), None
        if broker_url is None:
            rabbitmq = RabbitMQ(home / "rabbitmq")
            stack.callback(rabbitmq.close)
            rabbitmq.start()
            broker_url, processes["broker"] = rabbitmq.url, rabbitmq.child
        if store_url is None:
            redis = RedisServer(home / "redis")
            stack.callback(redis.kill)
            redis.start()
            store_url, processes["store"] = redis.url, redis.child
        yield Services(broker_url, store_url, processes, rabbitmq)


@contextmanager
def peer(name: str, home: Path, shared: Services, programs: Programs) -> Iterator[Peer]:
    """Run a peer with its sessions connected."""
    starts = {OURS: _cloudpush, PLAIN: _plain, EMITTER: _emitter, NOOP: _noop}
    with starts[name](home, shared, programs) as it:
        yield it


@contextmanager
def _cloudpush(home: Path, shared: Services, programs: Programs) -> Iterator[Peer]:
    broker_url = shared.vhost("cloudpush")
    fleet = Fleet(home / "cloudpush", broker_url, shared.store_url, count=1, settings={"CLOUDPUSH_SETTLE_S": "0"})
    fleet.start()
    try:
        port = fleet.nodes[0].socketio_port
        processes = {"web": fleet.web, "worker": fleet.worker, "node": fleet.nodes[0].process}
        with load(programs, port, SESSIONS) as (its_load, leader):
            tiers = Tiers({**processes, **shared.processes, "load": leader})
            web_port = int(fleet.url.rpartition(":")[2])
            yield Peer(OURS, web_port, "/v1/pushes", port, tiers, its_load, broker_url, fleet)
    finally:
        fleet.stop()


@contextmanager
def _plain(home: Path, shared: Services, programs: Programs) -> Iterator[Peer]:
    broker_url = shared.vhost("plain")
    web_port, node_port, grpc_port = (free_port() for _ in range(3))
    worker = ["-m", "celery", "-A", "bench.peers.plain_tasks", "-b", broker_url, "worker", "-P", "prefork", "-c", "2"]
    commands = {
        "web": ["-m", "bench.peers.plain_web", str(web_port), broker_url, f"127.0.0.1:{grpc_port}"],
        "worker": [*worker, "--loglevel=WARNING"],
        "node": ["-m", "bench.peers.plain_node", str(node_port), str(grpc_port)],
    }
    with (
        _children(home, "plain", commands, [web_port, node_port]) as processes,
        load(programs, node_port, SESSIONS) as (its_load, leader),
    ):
        tiers = Tiers({**processes, **shared.processes, "load": leader})
        yield Peer(PLAIN, web_port, "/push", node_port, tiers, its_load, broker_url)


@contextmanager
def _emitter(home: Path, shared: Services, programs: Programs) -> Iterator[Peer]:
    web_port, node_port = free_port(), free_port()
    commands = {
        "web": ["-m", "bench.peers.redis_manager_web", str(web_port), shared.store_url],
        "node": ["-m", "bench.peers.redis_manager_node", str(node_port), shared.store_url],
    }
    with (
        _children(home, "emitter", commands, [web_port, node_port]) as processes,
        load(programs, node_port, SESSIONS) as (its_load, leader),
    ):
        tiers = Tiers({**processes, **shared.processes, "load": leader})
        own, tail = ("web", "node"), processes["node"].tail
        yield Peer(EMITTER, web_port, "/emit", node_port, tiers, its_load, own=own, tail=tail)


@contextmanager
def _noop(home: Path, shared: Services, programs: Programs) -> Iterator[Peer]:  # noqa: ARG001 - it stands on nothing
    web_port = free_port()
    commands = {"web": ["-m", "bench.peers.noop_web", str(web_port)]}
    with (
        _children(home, "noop", commands, [web_port]) as processes,
        load(programs, web_port, SESSIONS, connect=False) as (its_load, leader),
    ):
        yield Peer(NOOP, web_port, "/noop", 0, Tiers({**processes, "load": leader}), its_load, own=("web",))


@contextmanager
def _children(home: Path, name: str, commands: Mapping[str, list[str]], ports: list[int]) -> Iterator[dict[str, Child]]:
    """Run processes of a peer until the end of the block; ready once somebody listens on all *ports*."""
    children = {
        tier: Child(f"{name}-{tier}", [sys.executable, *words], log=home / f"{name}-{tier}.log", env=dict(os.environ))
        for tier, words in commands.items()
    }
    try:
        for child in children.values():
            child.start()
        for port in ports:
            some = children["web"] if port == ports[0] else children["node"]
            some.until(lambda port=port: listens(port), _READY_S, f"a listener on port {port}")  # type: ignore[misc]
        yield children
    finally:
        for child in children.values():
            child.kill()
