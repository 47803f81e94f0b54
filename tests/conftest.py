"""The real parts that suites share; each starts when a test first asks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.fleet import Fleet
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer


@pytest.fixture(scope="session")
def private_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ of this run, in which each fleet may have a virtual host, and so queues, of its own."""
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> str:
    """URL of a RabbitMQ: RABBITMQ_URL, or a private one for this run."""
    given = os.environ.get("RABBITMQ_URL")
    if given:
        return given
    server: RabbitMQ = request.getfixturevalue("private_rabbitmq")
    return server.url


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis: REDIS_URL, or a private one for this run."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that one test may stop, kill, freeze and wipe."""
    server = RedisServer(tmp_path / "redis")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ that one test may stop and kill."""
    server = RabbitMQ(tmp_path / "rabbitmq")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def fleet(rabbitmq: str, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of two nodes that tests share: they use keys of their own and stop nothing."""
    # The store is new, but nothing was lost in it: pushes need not wait for nodes that may yet register.
    shared = Fleet(tmp_path_factory.mktemp("fleet"), rabbitmq, redis, settings={"CLOUDPUSH_SETTLE_S": "0"})
    shared.start()
    try:
        yield shared
    finally:
        shared.stop()
