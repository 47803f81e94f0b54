"""What sessions ack: by event, by answer, by resuming; and what is no ack."""

from typing import Any

import pytest

from cloud_node import acks
from cloud_node.hub import Session
from proto.errors import Refused
from proto.message import Place
from tests.fakes.durable_client import Client
from tests.fakes.durable_world import World

_HUGE = 2**63


@pytest.fixture
def world() -> World:
    return World()


def _session(client: Client) -> Session:
    assert client.session is not None
    return client.session


def _sent(world: World, count: int, key: str = "alice") -> None:
    for each in world.accept(count, key):
        world.node.hint(each)
    world.node.settles()


def _notes(world: World, *kinds: str) -> list[tuple[object, ...]]:
    return [note for note in world.ledger.notes if note[0] in kinds]


def _ids(client: Client) -> list[int]:
    """List the numbers by which it may answer what it was pushed."""
    return [ack_id for event, _, ack_id in _session(client).connection.events if event == "push" and ack_id is not None]


def test_an_ack_takes_in_all_before_it_and_says_what_is_acked(world: World) -> None:
    one = world.connect()
    _sent(world, 4)
    assert world.node.acks.take(_session(one), {"alice": 2}) == {"alice": 2}
    assert world.node.acks.take(_session(one), {"alice": 3}) == {"alice": 3}
    assert _notes(world, "acked", "cursor") == [
        ("acked", "p0", "alice"),
        ("acked", "p1", "alice"),
        ("cursor", "alice", "alice", Place("e0", 2)),
        ("acked", "p2", "alice"),
        ("cursor", "alice", "alice", Place("e0", 3)),
    ]


def test_an_ack_of_several_keys_is_one_of_each(world: World) -> None:
    one = world.connect(rooms=("a",))
    _sent(world, 2)
    _sent(world, 1, "room:a")
    assert world.node.acks.take(_session(one), {"alice": 2, "room:a": 1}) == {"alice": 2, "room:a": 1}
    assert world.node.acks.take(_session(one), {}) == {}


def test_an_ack_that_goes_back_or_comes_twice_changes_nothing(world: World) -> None:
    one = world.connect()
    _sent(world, 4)
    world.node.acks.take(_session(one), {"alice": 3})
    before = list(world.ledger.notes)
    assert [world.node.acks.take(_session(one), {"alice": offset}) for offset in (3, 1, 0)] == [{"alice": 3}] * 3
    assert world.ledger.notes == before


@pytest.mark.parametrize("offset", [5, 2**53, _HUGE])
def test_what_was_never_handed_out_cannot_be_acked(world: World, offset: int) -> None:
    one = world.connect()
    _sent(world, 4)
    assert world.node.acks.take(_session(one), {"alice": offset}) == {"alice": 0}
    assert _notes(world, "acked", "cursor") == []


@pytest.mark.parametrize(
    "offsets",
    [
        None,
        5,
        "alice",
        ["alice", 1],
        {"alice": "1"},
        {"alice": 1.0},
        {"alice": True},
        {"alice": None},
        {"alice": -1},
        {"alice": {"offset": 1}},
        {"bob": 1},
        {"mid:42": 1},
        {"": 1},
        {"x" * 100_000: 1},
        {f"k{number}": 1 for number in range(1001)},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_ack_is_refused_and_acks_nothing(world: World, offsets: Any) -> None:
    one = world.connect()
    _sent(world, 4)
    with pytest.raises(Refused) as refused:
        world.node.acks.take(_session(one), offsets)
    assert (refused.value.code, refused.value.field) == ("invalid_ack", "ack")
    assert len(refused.value.message) < 200
    if isinstance(offsets, dict):
        with pytest.raises(Refused):
            world.node.acks.take(_session(one), {"alice": 1} | offsets)
    assert _notes(world, "acked", "cursor") == []


def test_the_answer_to_a_push_acks_it_and_all_before_it(world: World) -> None:
    one = world.connect()
    _sent(world, 3)
    world.node.acks.answered(_session(one), _ids(one)[1])
    world.node.acks.answered(_session(one), _ids(one)[0])
    assert [note[1] for note in _notes(world, "acked")] == ["p0", "p1"]
    assert _notes(world, "cursor") == [("cursor", "alice", "alice", Place("e0", 2))]


def test_the_answers_of_two_sessions_count_twice_and_of_one_once(world: World) -> None:
    one, two = world.connect(), world.connect()
    _sent(world, 1)
    (ack_id,) = _ids(one)
    assert _ids(two) == [ack_id]
    for client in (one, two, one, two):
        world.node.acks.answered(_session(client), ack_id)
    assert [note[1] for note in _notes(world, "acked")] == ["p0", "p0"]


@pytest.mark.parametrize("ack_id", [0, -1, 2, _HUGE])
def test_an_answer_with_a_number_that_nobody_gave_means_nothing(world: World, ack_id: int) -> None:
    one = world.connect()
    _sent(world, 1)
    world.node.acks.answered(_session(one), ack_id)
    assert _notes(world, "acked", "cursor") == []


def test_an_answer_to_what_was_sent_to_another_key_means_nothing(world: World) -> None:
    one, two = world.connect(rooms=("a",)), world.connect()
    _sent(world, 1, "room:a")
    world.node.acks.answered(_session(two), _ids(one)[0])
    assert _notes(world, "acked", "cursor") == []


def test_an_answer_to_a_push_without_a_place_counts_once_for_a_session(world: World) -> None:
    one, two = world.connect(), world.connect()
    ack_id = world.node.acks.new_id(("alice",), "p", None)
    for client in (one, one, two):
        world.node.acks.answered(_session(client), ack_id)
    assert world.ledger.notes == [("acked", "p", "alice")] * 2


def test_what_came_before_a_session_began_it_does_not_ack(world: World) -> None:
    world.connect()
    _sent(world, 3)
    two = world.connect(resume=Place("e0", 2))
    world.ledger.notes.clear()
    _sent(world, 1)
    world.node.acks.take(_session(two), {"alice": 4})
    assert [note[1] for note in _notes(world, "acked")] == ["p2", "p3"]


def test_after_a_gap_only_what_comes_then_is_acked(world: World) -> None:
    one = world.connect()
    _sent(world, 3)
    world.node.acks.take(_session(one), {"alice": 3})
    world.store.wipe()
    _sent(world, 2)
    world.ledger.notes.clear()
    assert world.node.acks.take(_session(one), {"alice": 1}) == {"alice": 1}
    assert world.ledger.notes == [("acked", "p3", "alice"), ("cursor", "alice", "alice", Place("e1", 1))]


def test_the_answer_to_a_push_of_an_epoch_that_is_gone_acks_nothing_of_the_one_that_is_there(world: World) -> None:
    one = world.connect()
    _sent(world, 2)
    old = _ids(one)
    world.store.wipe()
    _sent(world, 3)
    world.node.acks.answered(_session(one), old[1])
    assert _notes(world, "acked", "cursor") == []
    world.node.acks.answered(_session(one), _ids(one)[-1])
    assert _notes(world, "cursor") == [("cursor", "alice", "alice", Place("e1", 3))]


def test_after_a_restart_acks_go_on_with_the_new_epoch(world: World) -> None:
    one = world.connect()
    _sent(world, 2)
    world.node.acks.take(_session(one), {"alice": 2})
    world.store.restart(losing=1)
    _sent(world, 1)
    assert world.node.acks.take(_session(one), {"alice": 2}) == {"alice": 2}
    assert [note[3] for note in _notes(world, "cursor")] == [Place("e0", 2), Place("e1", 2)]


def test_who_resumes_from_a_cursor_acks_what_it_has(world: World) -> None:
    world.accept(5)
    world.store.write_cursor("alice", "alice", Place("e0", 2))
    world.connect(resume=Place("e0", 4))
    assert _notes(world, "acked before", "cursor") == [
        ("acked before", "alice", 2, 4),
        ("cursor", "alice", "alice", Place("e0", 4)),
    ]


def test_who_resumes_from_behind_what_was_acked_acks_nothing_by_that(world: World) -> None:
    world.accept(5)
    world.store.write_cursor("alice", "alice", Place("e0", 4))
    one = world.connect(resume=Place("e0", 2))
    assert _notes(world, "acked", "acked before", "cursor") == []
    assert world.node.acks.take(_session(one), {"alice": 3}) == {"alice": 3}
    assert world.store.acked("alice", ["alice"]) == {"alice": Place("e0", 4)}


@pytest.mark.parametrize(("has", "after"), [(3, 0), (150, 86)])
def test_where_nothing_was_written_down_an_ack_looks_back_a_little(world: World, has: int, after: int) -> None:
    world.accept(200)
    world.connect(resume=Place("e0", has))
    assert _notes(world, "acked before") == [("acked before", "alice", after, has)]


def test_who_has_lost_messages_acks_nothing_by_resuming(world: World) -> None:
    world.accept(5)
    world.store.wipe()
    world.accept(5)
    world.connect(resume=Place("e0", 4))
    assert _notes(world, "acked before", "cursor") == []


def test_only_so_many_pushes_can_be_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "_MOST_IDS", 3)
    one = world.connect()
    ids = [world.node.acks.new_id(("alice",), f"p{number}", None) for number in range(5)]
    for ack_id in ids:
        world.node.acks.answered(_session(one), ack_id)
    assert [note[1] for note in world.ledger.notes] == ["p2", "p3", "p4"]


def test_only_so_many_answers_are_remembered(world: World) -> None:
    world.node.acks.most_answers = 3
    clients = [world.connect() for _ in range(2)]
    ids = [world.node.acks.new_id(("alice",), f"p{number}", None) for number in range(3)]
    for ack_id in ids:
        for client in clients:
            world.node.acks.answered(_session(client), ack_id)
    assert len(world.ledger.notes) == 6
    assert world.node.acks._answers == sum(len(each.answered) for each in world.node.acks._by_id.values()) <= 3


def test_who_has_left_a_room_and_is_back_acks_from_where_it_begins_again(world: World) -> None:
    world.connect(rooms=("a",))
    two = world.connect(rooms=("a",))
    _sent(world, 2, "room:a")
    two.leaves("room:a")
    _sent(world, 1, "room:a")
    world.node.joins(_session(two), "room:a")
    two.joins("room:a", None, 0)
    world.node.settles()
    _sent(world, 1, "room:a")
    world.ledger.notes.clear()
    assert world.node.acks.take(_session(two), {"room:a": 4}) == {"room:a": 4}
    assert [note[1] for note in _notes(world, "acked")] == ["p3"]
