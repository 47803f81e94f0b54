"""Where a session begins in each of its keys, and whether the store has to be looked at for it."""

import pytest

from proto.message import KeyOutcome, Outcome, Place
from tests.fakes.durable_client import Client
from tests.fakes.durable_world import World, gaps, offsets


@pytest.fixture
def world() -> World:
    return World()


def _begins(client: Client) -> dict[str, Place]:
    return {key: it.owed_after for key, it in client.subscriptions.items()}


def test_a_session_without_a_cursor_gets_all_of_its_own_key_and_of_rooms_what_comes(world: World) -> None:
    for key in ("alice", "room:a", "all"):
        world.accept(2, key)
    one = world.connect(rooms=("a",))
    assert _begins(one) == {"alice": Place("", 0), "room:a": Place("e1", 2), "all": Place("e2", 2)}
    for key in ("alice", "room:a", "all"):
        for each in world.accept(1, key):
            world.node.hint(each)
    world.settles()
    assert [offsets(one, key) for key in ("alice", "room:a", "all")] == [[1, 2, 3], [3], [3]]


@pytest.mark.parametrize(("history", "begin"), [(0, 5), (2, 3), (5, 0), (1000, 0)])
def test_a_room_begins_with_the_last_few_if_one_asks_for_them(world: World, history: int, begin: int) -> None:
    world.accept(5, "room:a")
    one = world.connect()
    assert one.session is not None
    world.node.joins(one.session, "room:a")
    one.joins("room:a", None, history)
    world.settles()
    assert offsets(one, "room:a") == list(range(begin + 1, 6))


def test_a_room_that_is_joined_again_goes_on_after_the_clients_own_cursor(world: World) -> None:
    world.accept(5, "room:a")
    one = world.connect()
    assert one.session is not None
    world.node.joins(one.session, "room:a")
    one.joins("room:a", Place("e0", 3), 1)
    world.settles()
    assert offsets(one, "room:a") == [4, 5]


def test_without_a_cursor_of_its_own_a_session_goes_on_after_what_it_acked(world: World) -> None:
    world.accept(5)
    world.store.write_cursor("alice", "alice", Place("e0", 3))
    assert offsets(world.connect()) == [4, 5]


def test_who_acked_more_elsewhere_than_this_node_has_heard_of_has_lost_nothing(world: World) -> None:
    world.accept(2)
    world.connect()
    world.accept(3)  # of which this node does not hear
    world.store.write_cursor("alice", "alice", Place("e0", 4))
    two = world.connect()
    world.settles()
    assert offsets(two) == [5]


def test_a_made_up_key_is_not_looked_for_in_the_store(world: World) -> None:
    for _ in range(2):
        client = Client(world.store, "", None, keeps=True)
        client.connects(world.node, f"s{len(world.clients)}", (), made_up=True)
        world.clients.append(client)
        client.opens()
        looks = len(world.node.reader.asked)
        world.node.settles()
    assert looks == 0, "all that the second one answers to is known"
    it = world.store.append("anon-s1", 1, b"1", 60_000)
    assert world.node.hint(it) == KeyOutcome(Outcome.DELIVERED, 1)


def test_a_made_up_key_that_joins_a_room_does_not_have_its_inbox_read_again(world: World) -> None:
    client = Client(world.store, "", None, keeps=True)
    client.connects(world.node, "s", (), made_up=True)
    client.opens()
    world.node.settles()
    world.node.hint(world.store.append("anon-s", 1, b"1", 60_000))
    assert client.session is not None
    world.node.joins(client.session, "room:a")
    client.joins("room:a", None, 0)
    world.node.settles()
    assert world.node.reader.pages == 0


def test_who_was_acked_further_elsewhere_has_lost_nothing_of_a_room_either(world: World) -> None:
    world.accept(2, "room:a")
    world.connect(rooms=("a",))
    world.accept(3, "room:a")  # of which this node does not hear
    world.store.write_cursor("alice", "room:a", Place("e0", 3))
    two = world.connect(rooms=("a",))
    world.settles()
    assert offsets(two, "room:a") == [4, 5]


def test_who_has_seen_more_elsewhere_than_this_node_has_heard_of_has_lost_nothing(world: World) -> None:
    world.accept(2)
    world.connect()
    world.accept(3)
    two = world.connect(resume=Place("e0", 4))
    world.settles()
    assert offsets(two) == [5]


def test_who_comes_back_from_before_what_this_node_keeps_is_told_at_once_what_was_trimmed() -> None:
    world = World(most=5, tail_bytes=0)
    world.connect()
    for each in world.accept(9):
        world.node.hint(each)
    two = world.connect(resume=Place("e0", 1))
    assert _begins(two)["alice"] == Place("e0", 4)
    assert gaps(two) == []
    assert offsets(two) == [5, 6, 7, 8, 9]


def test_history_counts_more_than_what_was_acked(world: World) -> None:
    world.accept(5, "room:a")
    world.store.write_cursor("alice", "room:a", Place("e0", 4))
    one = world.connect()
    assert one.session is not None
    world.node.joins(one.session, "room:a")
    one.joins("room:a", None, 3)
    world.settles()
    assert offsets(one, "room:a") == [3, 4, 5]


def test_a_made_up_key_that_has_messages_and_joins_a_room_has_lost_none(world: World) -> None:
    client = Client(world.store, "", None, keeps=True)
    client.connects(world.node, "s", (), made_up=True)
    client.opens()
    world.node.hint(world.store.append("anon-s", 1, b"1", 60_000))
    world.node.durable.check_all()
    world.node.settles()
    assert client.session is not None
    world.node.joins(client.session, "room:a")
    client.joins("room:a", None, 0)
    world.node.settles()
    assert gaps(client) == []
    assert offsets(client, "anon-s") == [1]
