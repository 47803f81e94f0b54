"""One key's inbox as a node follows it: each interleaving of following.py that loses nothing, by its fact.

A real Durable on an inbox in memory; every client judges what it gets (tests/fakes/durable_client.py).
"""

import pytest

from cloud_node import following
from proto.message import KeyOutcome, Outcome, Place
from tests.fakes.durable_world import World, offsets

_NO_SESSION = KeyOutcome(Outcome.NO_SESSION)
_DELIVERED = KeyOutcome(Outcome.DELIVERED, 1)
_QUEUED, _DUPLICATE, _EXPIRED = (KeyOutcome(each) for each in (Outcome.QUEUED, Outcome.DUPLICATE, Outcome.EXPIRED))


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_that_comes_twice_or_late_is_handed_out_once(world: World) -> None:
    one = world.connect()
    first, second, third = world.accept(3)
    assert [world.node.hint(each) for each in (first, second)] == [_DELIVERED, _DELIVERED]
    assert [world.node.hint(each) for each in (second, first)] == [_DUPLICATE, _DUPLICATE]
    world.node.durable.check_all()
    world.settles()
    assert world.node.hint(third) == _DUPLICATE
    assert offsets(one) == [1, 2, 3]


def test_a_message_that_comes_early_waits_for_the_one_before_it(world: World) -> None:
    world.accept()
    one = world.connect(resume=Place("e0", 1))
    first, second, third = world.accept(3)
    assert [world.node.hint(each) for each in (third, second)] == [_QUEUED, _QUEUED]
    assert offsets(one) == []
    assert world.node.hint(first) == _DELIVERED
    assert offsets(one) == [2, 3, 4]
    world.settles()
    assert offsets(one) == [2, 3, 4]


def test_a_page_fills_the_gap_before_a_message_that_came_early(world: World) -> None:
    one = world.connect()
    world.node.hint(world.accept(3)[-1])
    world.settles()
    assert offsets(one) == [1, 2, 3]
    assert world.node.reader.pages == 1


def test_more_early_messages_than_are_set_aside_come_from_the_inbox(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_ASIDE", 2)
    world.accept()
    one = world.connect(resume=Place("e0", 1))
    for each in reversed(world.accept(6)[1:]):
        world.node.hint(each)
    assert world.following._aside is not None
    assert len(world.following._aside) == 2
    world.settles()
    assert offsets(one) == [2, 3, 4, 5, 6, 7]


def test_what_was_accepted_before_a_session_is_decided_is_read_and_what_comes_after_is_handed_out(world: World) -> None:
    world.accept(2)
    one = world.connect(settles=False)
    (early,) = world.accept()
    assert world.node.hint(early) == _QUEUED, "nobody knows yet where the inbox ends"
    one.opens()
    world.node.reader.reads_one(0)
    (late,) = world.accept()
    assert world.node.hint(late) == _QUEUED
    world.settles()
    assert offsets(one) == [1, 2, 3, 4]


def test_a_message_that_came_before_anybody_looked_is_handed_out_to_who_begins_before_it(world: World) -> None:
    world.accept()
    one = world.connect(resume=Place("e0", 1), settles=False)
    one.opens()
    world.node.reader.reads_one(0)
    (first,) = world.accept()
    world.node.hint(first)
    world.node.reader.gives_one()
    world.settles()
    assert offsets(one) == [2]


def test_one_that_joins_holds_nobody_up(world: World) -> None:
    one = world.connect()
    two = world.connect(settles=False)
    (first,) = world.accept()
    assert world.node.hint(first) == _DELIVERED
    assert (offsets(one), offsets(two)) == ([1], [])
    two.opens()
    world.settles()
    assert (offsets(one), offsets(two)) == ([1], [1])


def test_a_page_that_comes_late_changes_nothing_for_who_has_it_all(world: World) -> None:
    world.accept()
    one = world.connect(resume=Place("e0", 1))
    first, second = world.accept(2)
    world.node.hint(second)
    world.node.reader.reads_one(0)
    (third,) = world.accept()
    for each in (first, third):
        world.node.hint(each)
    world.node.reader.gives_one()
    world.settles()
    assert offsets(one) == [2, 3, 4]
    assert world.node.reader.pages == 1


def test_a_page_serves_who_came_while_it_was_read(world: World) -> None:
    world = World(tail_bytes=0)
    world.accept(3)
    clients = [world.connect(settles=False) for _ in range(3)]
    for client in clients:
        client.opens()
    for _ in clients:
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    world.settles()
    assert [offsets(client) for client in clients] == [[1, 2, 3]] * 3
    assert world.node.reader.pages == 1


def test_a_page_that_was_asked_for_before_a_message_was_heard_of_does_not_deny_it(world: World) -> None:
    world.accept()
    one = world.connect(resume=Place("e0", 1))
    world.node.hint(world.accept(2)[-1])
    world.node.reader.reads_one(0)
    world.node.hint(world.accept(2)[-1])
    world.node.reader.gives_one()
    assert offsets(one) == [2, 3], "the page knew of no fourth, which is stored"
    world.settles()
    assert offsets(one) == [2, 3, 4, 5]


def test_a_page_that_was_asked_for_by_who_has_left_says_nothing_to_who_comes_then(world: World) -> None:
    world.accept(5)
    one = world.connect()
    assert offsets(one) == [1, 2, 3, 4, 5]
    sixth, seventh = world.accept(2)
    world.node.hint(seventh)
    world.node.reader.reads_one(0)
    (stale,) = world.node.reader.answers
    world.node.reader.answers.clear()
    one.goes()
    two = world.connect(resume=Place("e0", 7))
    eighth, ninth = world.accept(2)
    world.node.hint(ninth)
    stale[1]()
    assert offsets(two) == [], "the page knew of no eighth"
    world.settles()
    assert offsets(two) == [8, 9]
    assert [world.node.hint(each) for each in (sixth, eighth)] == [_NO_SESSION, _DUPLICATE]


def test_a_message_whose_time_is_over_moves_on_without_being_handed_out(world: World) -> None:
    one = world.connect()
    (first,) = world.accept()
    world.store.now_ms += 60_000
    (second,) = world.accept()
    assert [world.node.hint(each) for each in (first, second)] == [_EXPIRED, _DELIVERED]
    world.settles()
    assert offsets(one) == [2]


def test_who_is_ahead_of_the_node_waits_until_it_has_come_there(world: World) -> None:
    world.connect()
    first, second, third = world.accept(3)
    two = world.connect(resume=Place("e0", 2), settles=False)
    two.opens()
    world.node.reader.reads_one(0)
    world.node.reader.answers.popleft()[1]()
    for each in (first, second, third):
        world.node.hint(each)
    assert offsets(two) == [3]
    world.settles()
    assert offsets(two) == [3]


def test_those_who_are_live_wait_for_no_one_who_has_far_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAGE_MESSAGES", 4)
    world = World(tail_bytes=0)
    world.accept(400)
    one = world.connect(resume=Place("e0", 400))
    two = world.connect(resume=Place("e0", 1), settles=False)
    two.opens()
    for _ in range(2):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    world.node.hint(world.accept(2)[-1])
    before = world.node.reader.pages
    while not offsets(one):
        world.node.reader.reads_one(0)
        world.node.reader.gives_one()
    assert world.node.reader.pages - before <= 2
    world.settles()
    assert offsets(two) == list(range(2, 403))


def test_who_has_far_to_go_comes_there_although_the_live_ones_always_lack_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_PAGE_MESSAGES", 4)
    world = World(tail_bytes=0)
    world.accept(80)
    world.connect(resume=Place("e0", 80))
    two = world.connect(resume=Place("e0", 0), settles=False)
    two.opens()
    for _ in range(60):
        world.node.reader.reads_one(0)
        world.node.hint(world.accept(2)[-1])
        world.node.reader.gives_one()
    assert len(offsets(two)) > 80


def test_a_page_is_about_as_large_as_what_may_be_handed_out_at_once(world: World) -> None:
    asked: list[int] = []
    read = world.store.read
    world.store.read = lambda key, after, limit: asked.append(limit) or read(key, after, limit)  # type: ignore[method-assign,func-returns-value]
    world.accept(100, body=b'"%s"' % (b"x" * 65_534))
    world.connect()
    assert asked[0] == following._PAGE_MESSAGES
    assert set(asked[1:]) == {3}
