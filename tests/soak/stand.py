"""What a soak breaks: every process of a cloudpush by name, and what stands between them.

Between the workers and each node stands a gRPC proxy behind a gate, between each node and Redis a gate; each process
has a wall clock of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.parts.fleet import ROOT, Fleet
from tests.parts.gate import Gate
from tests.parts.grpc_proxy import GrpcProxy
from tests.parts.process import Child, listens
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.soak.callers import Door

_CLOCK = Path(__file__).parent / "clock"
_BACK_S = 40.0
# Short, so that what takes ten seconds in production takes three here; two seconds of silence end a connection.
QUICK = {
    "CLOUDPUSH_LEASE_TTL_S": "3",
    "CLOUDPUSH_RENEW_EVERY_S": "1",
    "CLOUDPUSH_PROBE_EVERY_S": "2",
    "CLOUDPUSH_SETTLE_S": "3",
    "CLOUDPUSH_DRAIN_S": "2",
    "CLOUDPUSH_INBOX_CHECK_S": "5",
    "CLOUDPUSH_PING_INTERVAL_S": "2",
    "CLOUDPUSH_PING_TIMEOUT_S": "2",
}


@dataclass(frozen=True)
class Part:
    """A process that may be killed and frozen; *start* brings it back on the data that it kept, and waits for it."""

    child: Child
    start: Callable[[], None]


@dataclass
class Stand:
    """What there is to break, by the names that schedule.py uses."""

    door: Door
    rest: str
    node_urls: list[str]
    parts: Mapping[str, Part]
    proxies: Mapping[str, GrpcProxy] = field(default_factory=dict)
    worker_gates: Mapping[str, Gate] = field(default_factory=dict)
    store_gates: Mapping[str, Gate] = field(default_factory=dict)
    clocks: Mapping[str, Path] = field(default_factory=dict)

    @property
    def ended(self) -> list[str]:
        """Processes that run no more."""
        return [f"{name} ended with {it.child.returncode}" for name, it in self.parts.items() if not it.child.running]


class GuardedFleet(Fleet):
    """A fleet whose every wire can be disturbed, and whose clocks can jump."""

    def __post_init__(self) -> None:
        self.proxies: dict[str, GrpcProxy] = {}
        self.worker_gates: dict[str, Gate] = {}
        self.store_gates: dict[str, Gate] = {}
        super().__post_init__()

    def clock(self, name: str) -> Path:
        """The file with the offset of a process' wall clock, in seconds."""
        return self.home / f"{name}.clock"

    def kill(self) -> None:
        """See Fleet; also ends what stands between."""
        super().kill()
        for gate in (*self.worker_gates.values(), *self.store_gates.values()):
            gate.close()
        for proxy in self.proxies.values():
            proxy.close()

    def _surroundings(self, name: str, grpc_port: int) -> Mapping[str, str]:
        self.proxies[name] = GrpcProxy(grpc_port, seed=len(self.proxies))
        self.worker_gates[name] = Gate(self.proxies[name].port)
        self.store_gates[name] = Gate(urlsplit(self.store_url).port or 6379)
        return {
            "CLOUDPUSH_ADVERTISE_GRPC_PORT": str(self.worker_gates[name].port),
            "REDIS_URL": f"redis://127.0.0.1:{self.store_gates[name].port}/0",
        }

    def _child(self, name: str, arguments: list[str], own: Mapping[str, str] | None = None) -> Child:
        path = ":".join(str(place) for place in (_CLOCK, ROOT, ROOT / "clients/python"))
        return super()._child(name, arguments, {**(own or {}), "PYTHONPATH": path, "SOAK_CLOCK": str(self.clock(name))})


def make_stand(fleet: GuardedFleet, rabbitmq: RabbitMQ, redis: RedisServer) -> Stand:
    """Name the parts of a cloudpush that runs."""
    processes = {"web": (fleet.web, fleet.url)}
    processes |= {f"worker-{i}": it for i, it in enumerate(zip(fleet.workers, fleet.worker_urls, strict=True))}
    processes |= {f"node-{i}": (node.process, node.url) for i, node in enumerate(fleet.nodes)}
    parts = {name: Part(child, starting(child, urlsplit(url).port or 0)) for name, (child, url) in processes.items()}
    parts["rabbitmq"] = Part(rabbitmq.child, rabbitmq.start)
    parts["redis"] = Part(redis.child, redis.start)
    return Stand(
        door=Door(urlsplit(fleet.url).port or 0),
        rest=fleet.url,
        node_urls=[node.url for node in fleet.nodes],
        parts=parts,
        proxies=fleet.proxies,
        worker_gates=fleet.worker_gates,
        store_gates=fleet.store_gates,
        clocks={name: fleet.clock(child.name) for name, (child, _) in processes.items()},
    )


def starting(child: Child, port: int) -> Callable[[], None]:
    """Give what starts *child*, and waits until it listens: what it needs may be down as well, so no more than that."""

    def start() -> None:
        child.start()
        child.until(lambda: listens(port), _BACK_S, f"{child.name} listening on {port}")

    return start
