"""Durable messages of a node's sessions: what it costs that many catch up, and who is handed how much at once."""

import orjson
import pytest

from cloud_node import following, handing
from cloud_node.hub import Session
from cloud_node.identity import Identity
from proto.message import KeyOutcome, Outcome, Place
from tests.fakes.durable_client import Client
from tests.fakes.durable_node import DurableNode
from tests.fakes.durable_world import World, gaps, offsets

_LIMIT = 1_048_576  # what may wait for a session before it is closed: CLOUDPUSH_MAX_WAITING_BYTES


@pytest.fixture
def world() -> World:
    return World()


def _session(client: Client) -> Session:
    assert client.session is not None
    return client.session


@pytest.mark.parametrize("tail_bytes", [0, 1 << 24])
def test_a_thousand_sessions_that_miss_the_same_fifty_cost_a_page_or_none(tail_bytes: int) -> None:
    world = World(tail_bytes=tail_bytes)
    first = world.connect()
    for each in world.accept(60):
        world.node.hint(each)
    pages = world.node.reader.pages
    many = [world.connect(resume=Place("e0", 10), settles=False) for _ in range(1000)]
    for client in many:
        client.opens()
    world.node.settles()
    assert world.node.reader.pages - pages == (0 if tail_bytes else 1)
    assert all(offsets(client) == list(range(11, 61)) for client in many)
    assert offsets(first) == list(range(1, 61))


def test_sessions_that_come_one_after_the_other_while_pages_are_read_share_them() -> None:
    world = World(tail_bytes=0)
    world.accept(300)
    many = []
    for number in range(50):
        many.append(world.connect(resume=Place("e0", 10), settles=False))
        many[-1].opens()
        if number % 10 == 9:
            for _ in range(10):
                world.node.reader.reads_one(0)
            world.node.reader.gives_one()
    world.node.settles()
    assert world.node.reader.pages <= 10
    assert all(offsets(client) == list(range(11, 301)) for client in many)


def test_a_join_that_was_given_up_does_not_decide_for_the_one_that_follows(world: World) -> None:
    one = world.connect()
    assert one.session is not None
    world.node.joins(one.session, "room:a")
    one.joins("room:a", None, 0)
    world.node.reader.reads_one(0)
    one.leaves("room:a")
    world.accept(2, "room:a")
    world.node.joins(one.session, "room:a")
    world.node.reader.gives_one()
    assert one.session in world.node.durable._followings["room:a"].behind.undecided
    one.joins("room:a", None, 0)
    world.settles()
    assert one.subscriptions["room:a"].owed_after == Place("e0", 2)


def test_when_nobody_answers_to_a_key_nothing_is_kept_of_it(world: World) -> None:
    world.accept(5)
    clients = [world.connect(), world.connect(settles=False), world.connect(resume=Place("e0", 1), settles=False)]
    clients[2].opens()
    world.node.hint(world.accept(3)[-1])
    for client in clients:
        client.goes()
    assert world.node.durable._followings == {}
    world.node.settles()
    assert world.node.durable._followings == {}
    assert world.node.hint(world.accept()[0]) == KeyOutcome(Outcome.NO_SESSION)


@pytest.mark.parametrize("dies", [(0,), (1,), (0, 1, 2)])
def test_one_that_ends_while_it_is_handed_something_takes_nobody_along(world: World, dies: tuple[int, ...]) -> None:
    clients = [world.connect() for _ in range(3)]
    for number in dies:
        _session(clients[number]).connection.dies = True
    outcome = world.node.hint(world.accept()[0])
    assert outcome == (KeyOutcome(Outcome.DELIVERED, 2) if len(dies) == 1 else KeyOutcome(Outcome.SLOW))
    assert len(world.node.hub) == 3 - len(dies)
    world.settles()


@pytest.mark.parametrize("tells", ["epoch", "trimmed"])
def test_one_that_ends_while_it_is_told_of_a_gap_takes_nobody_along(tells: str) -> None:
    world = World(most=3)
    clients = [world.connect() for _ in range(3)]
    world.node.hint(world.accept()[0])
    assert clients[1].session is not None
    clients[1].session.connection.dies = True
    if tells == "epoch":
        world.store.wipe()
    world.node.hint(world.accept(6)[-1])
    world.settles()
    assert [len(gaps(client)) for client in (clients[0], clients[2])] == [1, 1]
    assert len(world.node.hub) == 2


def _connect_with_limit(world: World, resume: Place | None = None) -> tuple[Client, list[int]]:
    """Connect a session whose client reads nothing; gives the bytes that waited for it after each of its events."""
    one = world.connect(resume=resume, settles=False)
    assert one.session is not None
    one.session.connection.slow = True
    waited: list[int] = []
    emit = world.node.emit

    def noting(*args: object) -> int:
        handed = emit(*args)  # type: ignore[arg-type]
        waited.append(one.session.connection.backlog if one.session else 0)
        return handed

    world.node.emit = noting  # type: ignore[method-assign,assignment]
    return one, waited


@pytest.mark.parametrize("tail_bytes", [0, 16 << 20])
def test_one_that_catches_up_with_a_thousand_large_messages_is_never_given_too_much_at_once(tail_bytes: int) -> None:
    world = World(tail_bytes=tail_bytes)
    body = orjson.dumps("x" * 65_534)
    holder = world.connect()
    for each in world.accept(1000, body=body):
        world.node.hint(each)
    assert holder.session is not None
    holder.session.connection.events.clear()
    one, waited = _connect_with_limit(world, resume=Place("e0", 0))
    one.opens()
    for _ in range(5):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
        world.node.runs_deferred()
    assert 0 < max(waited) <= following.PAGE_BYTES + handing._SLOW_BYTES + 70_000 < _LIMIT // 2
    stuck = len(waited)
    world.node.runs_deferred()
    assert len(waited) == stuck, "it has read nothing, so it is given no more"
    for _ in range(2000):
        one.session.connection.backlog = 0  # type: ignore[union-attr]
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
        world.node.runs_deferred()
    assert max(waited) < _LIMIT // 2
    assert offsets(one) == list(range(1, 1001))


def test_one_with_many_keys_that_all_have_much_for_it_is_never_given_too_much_at_once(world: World) -> None:
    body = orjson.dumps("x" * 65_534)
    rooms = tuple(f"r{number}" for number in range(50))
    holder = world.connect(rooms=rooms)
    places: dict[str, Place] = {}
    for room in rooms:
        for each in world.accept(4, f"room:{room}", body=body):
            world.node.hint(each)
        places[f"room:{room}"] = Place(each.place.epoch, 0)
    assert holder.session is not None
    one, waited = _connect_with_limit(world)
    one.goes()
    one.cursors = dict(places)
    one.connects(world.node, "again", rooms)
    assert one.session is not None
    one.session.connection.slow = True
    one.opens()
    for _ in range(20):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    assert 0 < max(waited) < _LIMIT // 2
    world.settles()
    assert {key: offsets(one, key) for key in places} == {key: [1, 2, 3, 4] for key in places}


def test_nobody_is_waited_for_again_and_again_who_is_only_ahead(world: World) -> None:
    world.accept(2)
    world.connect()
    world.accept(2)
    two = world.connect(resume=Place("e0", 4), settles=False)
    two.opens()
    world.node.reader.reads_one(0)
    world.store.restart(losing=2)
    world.node.settles()
    assert world.node.deferred == []
    assert world.node.reader.asked == []


def test_sessions_that_take_other_ops_are_passed_over_and_come_along(world: World) -> None:
    one = world.connect()
    assert one.session is not None
    world.node.hub.accept(one.session, frozenset({2}))
    assert world.node.hint(world.accept()[0]) == KeyOutcome(Outcome.FILTERED)
    assert world.node.hint(world.accept(op=2)[0]) == KeyOutcome(Outcome.DELIVERED, 1)
    assert offsets(one) == [2]


def test_keys_of_which_nothing_is_known_yet_are_not_checked(world: World) -> None:
    world.connect(settles=False)
    world.node.durable.check_all()
    assert [what for what, _ in world.node.reader.asked] == ["check"]
    world.node.reader.reads_one(0)
    world.node.reader.gives_one()
    assert world.node.durable._followings["alice"].head is None


def test_a_message_for_a_key_that_nobody_answers_to_says_so() -> None:
    world = World()
    node: DurableNode = world.node
    assert node.hint(world.accept()[0]) == KeyOutcome(Outcome.NO_SESSION)
    node.connect("s", Identity("bob"))
    assert node.hint(world.accept()[0]) == KeyOutcome(Outcome.NO_SESSION)
