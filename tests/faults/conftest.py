"""Parts that these tests may break: a RabbitMQ for all of them, and for each file a Redis and a fleet of two nodes.

Leases are short, so that what takes ten seconds in production takes three here.
"""

from collections.abc import Iterator

import pytest

from tests.parts.fleet import Fleet
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

LEASE_S = 3.0
QUICK = {
    "CLOUDPUSH_LEASE_TTL_S": f"{LEASE_S}",
    "CLOUDPUSH_RENEW_EVERY_S": "1",
    "CLOUDPUSH_PROBE_EVERY_S": "1",
    "CLOUDPUSH_SETTLE_S": "3",
    "CLOUDPUSH_DRAIN_S": "2",
}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ to stop, kill and freeze."""
    server = RabbitMQ(tmp_path_factory.mktemp("broker"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis to stop, kill, freeze and wipe."""
    server = RedisServer(tmp_path_factory.mktemp("store"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Settings of the fleet; a file may have its own."""
    return dict(QUICK)


@pytest.fixture(scope="module")
def fleet(
    broker: RabbitMQ,
    store: RedisServer,
    settings: dict[str, str],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """Web, worker and two nodes, to break; a test leaves them whole."""
    name = request.module.__name__.rpartition(".")[2]
    own = Fleet(tmp_path_factory.mktemp(name), broker.add_vhost(name), store.url, settings=settings)
    own.start()
    try:
        yield own
    finally:
        own.kill()
