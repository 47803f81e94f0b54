"""Fleets and sessions that the tests of the whole path share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from tests.parts.clients import WEBSOCKET, Client
from tests.parts.fleet import Fleet, Node
from tests.parts.rabbitmq import RabbitMQ

API_KEY = "an-api-key-of-32-characters-long"
JWT_SECRET = "a-jwt-secret-of-32-characters-or-more"
GRPC_TOKEN = "a-grpc-token-of-32-characters-ok"


class Connect(Protocol):
    """Connects a session to a node, and ends it with the test."""

    def __call__(self, node: Node, *, transports: tuple[str, ...] = WEBSOCKET, **auth: Any) -> Client: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Sessions of one test."""
    with ExitStack() as sessions:

        def open_one(node: Node, *, transports: tuple[str, ...] = WEBSOCKET, **auth: Any) -> Client:
            return sessions.enter_context(Client(node, auth, transports))

        yield open_one


@pytest.fixture
def name() -> Callable[[str], str]:
    """Names of keys, members and rooms that no other test uses."""
    mark = uuid4().hex[:8]
    return lambda word: f"{word}-{mark}"


@pytest.fixture(scope="session")
def spare_fleet(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of which a test may stop parts, if it starts them again; its nodes say often what they hold."""
    settings = {"CLOUDPUSH_RENEW_EVERY_S": "0.2", "CLOUDPUSH_PROBE_EVERY_S": "1"}
    yield from _run(private_rabbitmq, redis, tmp_path_factory.mktemp("spare"), settings)


@pytest.fixture(scope="session")
def locked_fleet(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with every secret set."""
    settings = {
        "CLOUDPUSH_API_KEY": API_KEY,
        "CLOUDPUSH_CLIENT_JWT_SECRET": JWT_SECRET,
        "CLOUDPUSH_GRPC_TOKEN": GRPC_TOKEN,
    }
    yield from _run(private_rabbitmq, redis, tmp_path_factory.mktemp("locked"), settings)


def _run(rabbitmq: RabbitMQ, store_url: str, home: Path, settings: dict[str, str]) -> Iterator[Fleet]:
    settings = {"CLOUDPUSH_SETTLE_S": "0", **settings}
    fleet = Fleet(home, rabbitmq.add_vhost(home.name), store_url, settings=settings)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop()
