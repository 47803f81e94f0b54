"""Endings in bad moments, each found by tests/properties/test_wire_order.py."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from cloud_node.wire import connection, fanout
from cloud_node.wire.wheel import NEVER, Wheel
from tests.fakes.wire_model import Client
from tests.fakes.wire_world import ROOMY, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in which every other session is followed by a pause."""
    monkeypatch.setattr(fanout, "_SLICE", 2)
    monkeypatch.setattr(connection, "_MAX_INBOX", 2)
    with capture_logs():
        made = World(limit=300)
        yield made
        made.close()


def _read_all(client: Client) -> tuple[int, str] | None:
    assert client.websocket is not None
    while client.websocket.sock.unread:
        client.read(ROOMY)
        if client.connection.websocket is None:
            client.websocket.sock.capacity = ROOMY
    return client.websocket.closed


def test_nothing_follows_the_close_frame_of_a_session_that_a_write_finds_too_slow(world: World) -> None:
    slow, other = world.connects(1), world.connects(ROOMY)
    for client in (slow, other):
        world.joins(client, "a")
    world.batch([("a", 900), (0, 900), (0, 10)])
    world.goes_on()
    websocket = world.websockets[0]
    assert slow.is_slow
    slow.read(ROOMY)
    assert slow.websocket is not None
    slow.websocket.sock.capacity = ROOMY
    websocket.flush()
    slow.read(ROOMY)
    assert slow.websocket.closed == (1013, "too slow: reconnect")
    assert slow.websocket.has_ended


def test_a_session_that_is_dropped_in_mid_sweep_has_what_was_handed_to_it_before(world: World) -> None:
    clients = [world.connects(ROOMY) for _ in range(4)]
    for client in clients:
        world.joins(client, "a")
    world.emits("a", 10, binary=False)
    assert world.parked is not None, "the sweep is over"
    world.emits("a", 10, binary=False)
    world.drops(clients[-1])
    world.goes_on()
    assert _read_all(clients[-1]) == (1012, "reconnect")
    assert clients[-1].got == clients[-1].handed
    assert len(clients[-1].got) == 2


def test_a_polling_session_that_is_dropped_in_mid_sweep_has_what_was_handed_to_it_before(world: World) -> None:
    clients = [world.connects_by_polling() for _ in range(4)]
    for client in clients:
        world.joins(client, "a")
    world.emits("a", 10, binary=False)
    assert world.parked is not None, "the sweep is over"
    world.drops(clients[-1])
    world.polls(clients[-1])
    assert clients[-1].got == clients[-1].handed
    assert len(clients[-1].got) == 1
    world.polls(clients[-1])
    assert clients[-1].refused


def test_a_websocket_that_is_read_no_more_can_still_break(world: World) -> None:
    client = world.connects(ROOMY)
    assert client.websocket is not None
    for number in range(5):
        client.websocket.say(f"4wait {number}")
    world.serves()
    client.websocket.sock.broken = True
    world.sends(client, 10, binary=False)
    assert client.reason == "transport close"
    assert client.websocket.sock.fileno() < 0


class _Timed:
    def __init__(self) -> None:
        self.slot = NEVER
        self.told = 0

    def due(self) -> None:
        self.told += 1


def test_a_deadline_that_is_set_while_the_wheel_is_far_behind_is_not_early() -> None:
    now = 100.0
    wheel = Wheel(0.25, 25.0, lambda: None, clock=lambda: now)
    old, fresh = _Timed(), _Timed()
    wheel.set(old, 20)
    now += 60
    wheel.set(fresh, 20)
    wheel.turn(lambda _: None)
    assert (old.told, fresh.told) == (1, 0)
    now += 21
    wheel.turn(lambda _: None)
    assert (old.told, fresh.told) == (1, 1)
