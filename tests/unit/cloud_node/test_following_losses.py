"""One key's inbox when its store restarts, loses, is emptied or trims: who is told what, and what goes on.

The interleavings 5 to 7 of following.py.
"""

import pytest

from cloud_node import following
from proto.message import KeyOutcome, Outcome, Place
from store.inbox import Position
from tests.fakes.durable_world import World, gaps, offsets

_QUEUED, _NO_SESSION = KeyOutcome(Outcome.QUEUED), KeyOutcome(Outcome.NO_SESSION)


@pytest.fixture
def world() -> World:
    return World()


def test_after_a_restart_nobody_gets_anything_twice_and_nobody_is_told_of_a_loss(world: World) -> None:
    one = world.connect()
    for each in world.accept(2):
        world.node.hint(each)
    world.store.restart()
    third, fourth = world.accept(2)
    assert [world.node.hint(each) for each in (third, fourth)] == [_QUEUED, _QUEUED]
    assert offsets(one) == [1, 2], "first it is to be known how the epochs follow each other"
    world.settles()
    assert offsets(one) == [1, 2, 3, 4]
    assert gaps(one) == []


def test_who_has_seen_what_the_store_lost_is_told_and_goes_on_with_the_new_epoch(world: World) -> None:
    one = world.connect()
    for each in world.accept(3):
        world.node.hint(each)
    world.store.restart(losing=2)
    (again,) = world.accept()
    assert again.place.offset == 2
    world.node.hint(again)
    world.settles()
    assert offsets(one) == [1, 2, 3, 2]
    assert gaps(one) == [("epoch", Place("e0", 1))]


def test_after_the_store_was_emptied_everybody_is_told_and_goes_on(world: World) -> None:
    one = world.connect()
    for each in world.accept(3):
        world.node.hint(each)
    world.store.wipe()
    world.node.hint(world.accept()[0])
    world.settles()
    assert offsets(one) == [1, 2, 3, 1]
    assert gaps(one) == [("epoch", Place("", 0))]


def test_a_late_message_of_an_epoch_that_is_gone_is_no_beginning_of_one(world: World) -> None:
    one = world.connect()
    (first,) = world.accept()
    world.node.hint(first)
    world.store.wipe()
    world.node.durable.check_all()
    world.node.settles()
    assert world.node.hint(first) == _QUEUED
    world.settles()
    assert offsets(one) == [1]


def test_an_epoch_that_was_begun_and_lost_takes_nothing_before_it_along(world: World) -> None:
    one = world.connect()
    for each in world.accept(3):
        world.node.hint(each)
    world.store.restart()
    world.node.hint(world.accept()[0])
    world.settles()
    world.store.restart(losing=1)
    world.node.hint(world.accept()[0])
    world.settles()
    assert offsets(one) == [1, 2, 3, 4, 4]
    assert gaps(one) == [("epoch", Place("e0", 3))]


def test_a_session_whose_next_message_was_trimmed_is_told_and_goes_on_from_there() -> None:
    world = World(most=3)
    one = world.connect()
    world.accept(8)
    world.node.durable.check_all()
    world.settles()
    assert offsets(one) == [6, 7, 8]
    assert gaps(one) == [("trimmed", Place("e0", 5))]


def test_who_catches_up_is_told_of_what_was_trimmed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAGE_MESSAGES", 2)
    world = World(most=6, tail_bytes=0)
    world.accept(6)
    one = world.connect(settles=False)
    one.opens()
    for _ in range(2):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    assert offsets(one) == [1, 2]
    world.accept(5)
    world.settles()
    assert offsets(one)[:2] == [1, 2]
    assert offsets(one)[-6:] == [6, 7, 8, 9, 10, 11]
    assert gaps(one) == [("trimmed", Place("e0", 5))]


def test_what_the_store_forgot_after_it_was_sent_is_handed_out_from_what_came(world: World) -> None:
    one = world.connect()
    for each in world.accept(2):
        world.node.hint(each)
    third, fourth = world.accept(2)
    world.store.restart(losing=2)
    world.node.hint(fourth)
    assert offsets(one) == [1, 2]
    world.settles()
    assert offsets(one) == [1, 2, 4]
    assert world.node.hint(third) == _NO_SESSION


def test_what_the_store_lost_beneath_who_catches_up_is_not_asked_for_again_and_again() -> None:
    world = World(tail_bytes=0)
    one = world.connect()
    for each in world.accept(6):
        world.node.hint(each)
    world.store.restart(losing=3)
    two = world.connect(resume=Place("e0", 1))
    world.settles()
    assert world.node.reader.pages <= 2
    assert offsets(two) == [2, 3]
    assert gaps(two) == [("epoch", Place("e0", 6))]
    world.node.hint(world.accept()[0])
    world.settles()
    assert (offsets(one)[-1], offsets(two)[-1]) == (4, 4)


@pytest.mark.parametrize("late", [Position(), Position((Place("x", 1),), 3)])
def test_what_was_read_before_the_first_message_came_does_not_undo_it(world: World, late: Position) -> None:
    one = world.connect()
    world.node.hint(world.accept()[0])
    world.node.durable.take_positions({"alice": late})
    world.settles()
    assert offsets(one) == [1]
    assert gaps(one) == []


def test_a_page_that_was_read_before_more_came_does_not_tell_that_it_was_lost() -> None:
    world = World(tail_bytes=0)
    world.connect()
    for each in world.accept(5):
        world.node.hint(each)
    two = world.connect(resume=Place("e0", 1), settles=False)
    two.opens()
    for _ in range(2):  # the look, and the page
        world.node.reader.reads_one(0)
        if not world.following.reading:
            world.node.reader.gives_one()
    for each in world.accept(3):
        world.node.hint(each)
    world.settles()
    assert offsets(two) == [2, 3, 4, 5, 6, 7, 8]
    assert gaps(two) == []


def test_what_the_store_lost_and_this_node_only_knew_the_end_of_is_not_asked_for_again_and_again() -> None:
    world = World(tail_bytes=0)
    world.accept(6)
    world.connect(resume=Place("e0", 6))
    world.store.restart(losing=3)
    two = world.connect(resume=Place("e0", 1))
    world.settles()
    assert world.node.reader.pages <= 2
    assert offsets(two) == [2, 3]


@pytest.mark.parametrize("alone", [True, False])
def test_what_came_early_in_an_epoch_that_is_over_is_not_taken_for_what_has_its_offset_now(alone: bool) -> None:
    world = World()
    world.accept(3)
    one = world.connect(resume=Place("e0", 3))
    early = world.accept(3)[-1 if alone else -2]
    world.node.hint(early)
    world.store.restart(losing=3)
    (fourth,) = world.accept()
    world.settles()
    assert offsets(one) == [4]
    assert gaps(one) == []
    (fifth,) = world.accept()
    assert world.node.hint(fifth).outcome is Outcome.DELIVERED
    assert (fourth.place.epoch, offsets(one)) == ("e1", [4, 5])


def test_those_who_are_slow_are_told_once_when_the_store_was_emptied(world: World) -> None:
    one, two = world.connect(), world.connect(settles=False)
    for each in world.accept(3):
        world.node.hint(each)
    assert two.session is not None
    two.session.connection.backlog = 1 << 20
    two.cursors = {}
    two.opens()
    for _ in range(2):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    world.following.behind.cursors[two.session] = 1  # it has had one when it became slow
    world.store.wipe()
    world.node.durable.check_all()
    world.node.settles()
    assert [len(gaps(one)), len(gaps(two))] == [1, 1]


def test_who_is_told_of_what_was_trimmed_acks_only_what_comes_then() -> None:
    world = World(most=3)
    one = world.connect()
    world.accept(8)
    world.node.durable.check_all()
    world.settles()
    assert one.session is not None
    assert one.session.acked["alice"] == Place("e0", 5)


def test_what_is_last_and_was_taken_back_holds_nobody_up(world: World) -> None:
    one = world.connect()
    sent = world.accept(3)
    world.node.hint(sent[0])
    world.store.remove(sent[2].kept.push_id)
    world.node.durable.check_all()
    world.settles()
    assert offsets(one) == [1, 2]
    pages = world.node.reader.pages
    assert world.node.hint(world.accept()[0]).outcome is Outcome.DELIVERED
    assert world.node.reader.pages == pages


def test_a_page_that_was_read_before_a_new_first_message_does_not_undo_it(world: World) -> None:
    one = world.connect()
    world.node.hint(world.accept(2)[-1])
    world.store.restart(losing=2)
    world.node.reader.reads_one(0)
    (first,) = world.accept()
    world.node.hint(first)
    world.node.reader.gives_one()
    world.settles()
    assert offsets(one) == [1]
    assert gaps(one) == []


def test_a_page_from_behind_where_everybody_went_back_to_skips_nothing(world: World) -> None:
    one = world.connect()
    for each in world.accept(5):
        world.node.hint(each)
    world.node.durable.check_all()
    world.node.settles()
    world.node.hint(world.accept(2)[-1])
    world.store.restart(losing=5)
    world.accept(5)
    two = world.connect(settles=False)
    two.opens()
    world.node.reader.reads_one(1)  # the look before the page
    world.node.reader.reads_one(0)
    world.settles()
    assert offsets(one) == [1, 2, 3, 4, 5, 3, 4, 5, 6, 7]
    assert offsets(two) == [1, 2, 3, 4, 5, 6, 7]
    assert (len(gaps(one)), gaps(two)) == (1, [])


def test_one_that_is_slow_is_told_once_of_what_was_trimmed() -> None:
    world = World(most=3, tail_bytes=0)
    world.accept()
    one = world.connect(resume=Place("e0", 1), settles=False)
    assert one.session is not None
    world.accept(2)
    one.opens()
    world.node.reader.reads_one(0)
    one.session.connection.backlog = 1 << 20
    world.node.reader.gives_one()
    world.accept(5)
    world.node.durable.check_all()
    for _ in range(4):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
        world.node.runs_deferred()
    assert gaps(one) == [("trimmed", Place("e0", 5))]
    world.settles()
    assert offsets(one) == [6, 7, 8]
