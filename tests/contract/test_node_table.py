"""What a worker remembers of the leases is never believed longer than it is true, on a real Redis."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis as redis_client

from store.connection import connect
from store.directory import RedisDirectory
from store.registry import NodeInfo, Registry
from store.settings import StoreSettings
from tests.parts.process import until

pytestmark = pytest.mark.services

_ONE, _OTHER = "10.0.0.1:9500#aa", "10.0.0.2:9500#bb"
_LONG_S, _SHORT_S = 60.0, 0.3


class _World:
    """A registry that nodes write and a directory that a worker reads, which counts its look-ups of leases."""

    def __init__(self, url: str) -> None:
        self.settings = StoreSettings(redis_url=url, store_namespace=f"t{uuid4().hex[:12]}", settle_s=0.2)
        self.client = connect(self.settings)
        self.registry = Registry(self.client, self.settings)
        self.reads = 0
        reading = Registry(self.client, self.settings)
        ask_leases = reading.ask_leases

        def counted(pipe: "redis_client.client.Pipeline") -> None:
            self.reads += 1
            ask_leases(pipe)

        reading.ask_leases = counted  # type: ignore[method-assign]
        self.worker = RedisDirectory(self.client, self.settings, reading)

    def up(self, node: str, ttl_s: float = _LONG_S) -> None:
        self.registry.register(NodeInfo(node, "", ""), ttl_s)

    def resolve(self, key: str) -> tuple[str, ...]:
        return self.worker.resolve([key]).nodes[key]


@pytest.fixture
def world(redis: str) -> Iterator[_World]:
    world = _World(redis)
    yield world
    world.client.close()


def test_while_nothing_changes_the_leases_are_read_once_in_a_while(world: _World) -> None:
    world.up(_ONE)
    world.worker.put(_ONE, {"a": 1})
    looks = 0

    def read_again() -> bool:
        nonlocal looks
        looks += 1
        assert world.resolve("a") == (_ONE,)
        return world.reads >= 3

    until(read_again, 10, "the leases read for the third time")
    assert looks > 20, "they were read with each look-up"


def test_renewals_are_no_reason_to_read_them_again(world: _World) -> None:
    world.up(_ONE)
    world.resolve("a")
    for _ in range(5):
        assert world.registry.renew(NodeInfo(_ONE, "", ""), _LONG_S)
        world.resolve("a")
    assert world.reads == 1


@pytest.mark.parametrize("change", ["register", "retire", "bury", "unsettle"])
def test_whoever_comes_goes_or_unsettles_is_seen_by_the_very_next_look(world: _World, change: str) -> None:
    world.up(_ONE)
    if change == "bury":
        world.registry.retire(_OTHER)
    until(lambda: world.worker.resolve(["a"]).settled, 10, "a settled store")
    for node in (_ONE, _OTHER):
        world.worker.put(node, {"a": 1})
    changes: dict[str, Callable[[], object]] = {
        "register": lambda: world.up(_OTHER),
        "retire": lambda: world.registry.retire(_ONE),
        "bury": lambda: world.registry.bury(_OTHER),
        "unsettle": world.registry.unsettle,
    }
    assert world.resolve("a") == (_ONE,)
    before = world.reads
    changes[change]()
    routes = world.worker.resolve(["a"])
    assert world.reads == before + 1
    assert routes.nodes["a"] == {"register": (_ONE, _OTHER), "retire": ()}.get(change, (_ONE,))
    assert routes.live == routes.nodes["a"]
    assert routes.settled == (change != "unsettle")


def test_a_lease_that_runs_out_counts_no_more_though_nobody_said_so(world: _World) -> None:
    world.up(_ONE)
    world.up(_OTHER, _SHORT_S)
    for node in (_ONE, _OTHER):
        world.worker.put(node, {"a": 1})
    assert world.resolve("a") == (_ONE, _OTHER)
    until(lambda: world.registry.lapsed() == (_OTHER,), 10, "the end of a lease")
    assert world.resolve("a") == (_ONE,)


def test_a_renewal_past_what_was_read_is_found_out_when_that_runs_out(world: _World) -> None:
    world.up(_ONE, _SHORT_S)
    world.worker.put(_ONE, {"a": 1})
    assert world.resolve("a") == (_ONE,)
    assert world.registry.renew(NodeInfo(_ONE, "", ""), _LONG_S)

    def late() -> bool:
        assert world.resolve("a") == (_ONE,)
        return world.reads > 1

    until(late, 10, "another look at the leases")


def test_a_store_that_lost_everything_is_not_taken_for_what_it_was(world: _World) -> None:
    world.up(_ONE)
    world.worker.put(_ONE, {"a": 1})
    assert world.resolve("a") == (_ONE,)
    for name in list(world.client.scan_iter(f"{world.settings.store_namespace}:{{registry}}:*")):
        world.client.delete(name)
    routes = world.worker.resolve(["a"])
    assert (routes.nodes["a"], routes.live, routes.settled) == ((), (), False)
