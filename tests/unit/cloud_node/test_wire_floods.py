"""A client that sends more than its share is served in turn with the others."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from cloud_node.wire import connection
from tests.fakes.wire_model import Client
from tests.fakes.wire_world import ROOMY, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in which each message takes all the time that one client may have at once."""
    monkeypatch.setattr(connection, "_SLICE_S", -1)
    with capture_logs():
        made = World(limit=100_000)
        yield made
        made.close()


def _say(client: Client, count: int) -> None:
    assert client.websocket is not None
    for number in range(count):
        client.said.append(f"now {number}")
        client.websocket.say(f"4now {number}")


def test_many_messages_of_one_client_are_not_handled_before_those_of_another(world: World) -> None:
    flooding, other = world.connects(ROOMY), world.connects(ROOMY)
    _say(flooding, 100)
    _say(other, 1)
    for _ in range(2):
        world.serves()
    world.run()
    assert other.heard == other.said
    assert len(flooding.heard) < 3
    for _ in range(200):
        world.run()
    assert flooding.heard == flooding.said


def test_pings_that_come_together_are_answered_together(world: World) -> None:
    client = world.connects(ROOMY)
    assert client.websocket is not None
    client.read(ROOMY)
    for _ in range(1000):
        client.websocket.ping()
    while client.websocket.sock.said:
        world.serves()
    pong = b"\x8a\x0dare you there"
    assert bytes(client.websocket.sock.unread) in (pong, pong * 2)
