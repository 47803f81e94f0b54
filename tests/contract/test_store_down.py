"""A Redis that cannot serve is one error, in time; and when it serves again nothing of before is left in the way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proto.errors import StoreUnavailable
from store.registry import NodeInfo
from tests.contract.conftest import World, in_redis
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services

_TIMEOUT_S = 0.3
_NODE = NodeInfo("10.0.0.1:9500#aa", "10.0.0.1:9500", "")

_READS: dict[str, Callable[[World], object]] = {
    "resolve": lambda world: world.directory.resolve(["alice"]),
    "counts": lambda world: world.directory.counts(["alice"]),
    "top_rooms": lambda world: world.directory.top_rooms(3),
    "live": lambda world: world.registry.live(),
    "lapsed": lambda world: world.registry.lapsed(),
    "run_id": lambda world: world.registry.run_id(),
}
_WRITES: dict[str, Callable[[World], object]] = {
    "put": lambda world: world.directory.put(_NODE.node, {"alice": 1, "room:a": 1}),
    "register": lambda world: world.registry.register(_NODE, 60),
    "renew": lambda world: world.registry.renew(_NODE, 60),
    "retire": lambda world: world.registry.retire("10.0.0.9:9500#cc"),
    "bury": lambda world: world.registry.bury("10.0.0.9:9500#cc"),
    "unsettle": lambda world: world.registry.unsettle(),
    "sweep": lambda world: list(world.directory.sweep("10.0.0.9:9500#cc")),
}
# Redis refuses writes that may grow it, and lets deletions pass.
_GROWING = ("put", "register", "renew", "retire", "unsettle")


@pytest.fixture
def world(own_redis: RedisServer) -> World:
    world = in_redis(own_redis.url, timeout_s=_TIMEOUT_S)
    world.registry.register(_NODE, 60)
    world.directory.put(_NODE.node, {"alice": 1})
    return world


@contextmanager
def _refused_in_time(what: str) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        yield
    # Once to connect and once to ask, at most.
    assert time.monotonic() - began < 2 * _TIMEOUT_S + 0.3, f"{what} came too late"


def _serves(world: World) -> None:
    assert world.directory.counts(["alice", "bob"]) == {"alice": 1, "bob": 0}
    assert dict(world.directory.resolve(["alice"]).nodes) == {"alice": (_NODE.node,)}
    assert [info.node for info in world.registry.live()] == [_NODE.node]


def test_a_redis_that_is_stopped_is_an_error_in_time_and_its_restart_goes_unnoticed(
    world: World, own_redis: RedisServer
) -> None:
    run_id = world.registry.run_id()
    own_redis.stop()
    for name, call in (_READS | _WRITES).items():
        with _refused_in_time(name):
            call(world)
    own_redis.start()
    _serves(world)
    assert world.registry.run_id() != run_id


def test_a_restart_between_two_calls_goes_unnoticed(world: World, own_redis: RedisServer) -> None:
    own_redis.stop()
    own_redis.start()
    _serves(world)


def test_a_redis_that_is_frozen_is_an_error_in_time_and_its_late_answers_are_nobodys(
    world: World, own_redis: RedisServer
) -> None:
    own_redis.freeze()
    for name, call in (_READS | _WRITES).items():
        with _refused_in_time(name):
            call(world)
    own_redis.thaw()
    _serves(world)


@pytest.mark.parametrize(
    "setting",
    [("maxmemory", "1"), ("min-replicas-to-write", "1")],
    ids=["full", "without its replicas"],
)
def test_a_redis_that_takes_no_writes_is_as_good_as_away(
    world: World, own_redis: RedisServer, setting: tuple[str, str]
) -> None:
    with own_redis.client() as client:
        client.config_set(*setting)
        for name in _GROWING:
            with _refused_in_time(name):
                _WRITES[name](world)
        client.config_set(setting[0], "0")
    _serves(world)
