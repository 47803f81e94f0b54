"""How a link's streams end, and what every ending means for those who wait.  Over a scripted wire."""

import grpc
import pytest

from proto.errors import NodeRefused, NodeUnreachable
from tasks.link_parcel import UNSENT, UNSERVED, Chunk, Replies
from tasks.link_window import MOST_BATCHES
from tasks.link_wire import NoWire
from tests.fakes.scripted_wire import LinkWorld, failure_of


@pytest.fixture
def world() -> LinkWorld:
    return LinkWorld()


def _delivered(chunk: Chunk) -> bool:
    return isinstance(chunk.result, Replies)


def test_a_stream_that_ends_fails_what_has_no_answer_and_the_next_push_opens_another(world: LinkWorld) -> None:
    answered = world.hand_over()
    world.wire.take()
    world.wire.answer(1)
    lost = [world.hand_over(), world.hand_over(), world.hand_over()]
    world.wire.end(grpc.StatusCode.UNAVAILABLE)
    assert _delivered(answered)
    assert {failure_of(chunk) for chunk in lost} == {(NodeUnreachable, "UNAVAILABLE: so it is", True)}
    again = world.hand_over()
    assert len(world.wires) == 2
    world.wire.take()
    world.wire.answer(world.wire.batches[0].seq)
    assert _delivered(again)


def test_events_of_a_stream_that_has_ended_touch_no_other(world: LinkWorld) -> None:
    world.hand_over()
    old = world.wire
    old.take()
    old.answer(1)
    world.hand_over()
    old.end(grpc.StatusCode.UNAVAILABLE)
    chunk = world.hand_over()
    old.take()
    old.answer(2)
    old.end(grpc.StatusCode.UNAVAILABLE)
    assert chunk.result is None
    assert (len(old.batches), world.wire.sizes) == (2, [1])


def test_a_node_where_streams_do_not_last_is_tried_ever_less_often(world: LinkWorld) -> None:
    world.hand_over()
    waits = []
    for _ in range(7):
        world.wire.end(grpc.StatusCode.UNAVAILABLE, "nobody there")
        began = world.now
        wires = len(world.wires)
        while failure := world.hand_over().result:
            assert failure == (NodeUnreachable, "UNAVAILABLE: nobody there", True)
            world.now += 0.025
        assert len(world.wires) == wires + 1
        waits.append(round(world.now - began, 3))
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.03)


@pytest.mark.parametrize(
    ("code", "seconds"), [(grpc.StatusCode.UNIMPLEMENTED, 60), (grpc.StatusCode.RESOURCE_EXHAUSTED, 5)]
)
def test_a_node_without_a_stream_for_us_is_not_asked_for_one_for_a_while(
    world: LinkWorld, code: grpc.StatusCode, seconds: int
) -> None:
    chunk = world.hand_over()
    world.wire.end(code)
    assert chunk.result is UNSERVED
    assert world.link.unserved
    assert world.hand_over().result is UNSERVED
    world.now += seconds
    assert not world.link.unserved
    assert world.hand_over().result is None
    assert len(world.wires) == 2


def test_with_a_grpc_that_is_made_otherwise_no_stream_is_opened() -> None:
    def other() -> None:
        raise NoWire

    world = LinkWorld(opening=other)
    assert world.hand_over().result is UNSERVED
    assert world.link.unserved


@pytest.mark.parametrize(
    ("code", "before", "after"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, NodeRefused, NodeUnreachable),
        (grpc.StatusCode.INVALID_ARGUMENT, NodeRefused, NodeUnreachable),
        (grpc.StatusCode.CANCELLED, NodeUnreachable, NodeUnreachable),
        (grpc.StatusCode.UNKNOWN, NodeUnreachable, NodeUnreachable),
        (grpc.StatusCode.OK, NodeUnreachable, NodeUnreachable),
    ],
)
def test_only_what_a_node_says_before_its_first_answer_is_said_for_good(
    world: LinkWorld, code: grpc.StatusCode, before: type[Exception], after: type[Exception]
) -> None:
    first = world.hand_over()
    world.wire.end(code)
    assert failure_of(first).kind is before
    world.now += 1
    world.hand_over()
    world.wire.take()
    world.wire.answer(world.wire.batches[0].seq)
    later = world.hand_over()
    world.wire.end(code)
    assert failure_of(later).kind is after


def test_a_chunk_that_was_not_sent_is_taken_back_when_its_caller_waits_no_more(world: LinkWorld) -> None:
    for _ in range(MOST_BATCHES):
        world.hand_over(100)
        world.wire.take()
    first, second = world.hand_over(30), world.hand_over(40)
    assert world.link.give_up(first, 1.0) is UNSENT
    world.wire.answer(1)
    world.wire.answer(2)
    for number in range(3, MOST_BATCHES + 1):
        world.wire.answer(number)
    assert world.wire.sizes[-1] == 40
    assert second.result is None


def test_a_node_that_has_had_a_batch_for_too_long_is_hung_and_loses_its_stream(world: LinkWorld) -> None:
    mine = world.hand_over()
    world.wire.take()
    world.now += 0.9
    others = world.hand_over()
    assert world.link.give_up(others, 1.0) is None, "it was sent just now: that proves nothing"
    world.now += 0.2
    failure = world.link.give_up(mine, 1.0)
    assert failure is not None
    assert (failure.kind, failure.told) == (NodeUnreachable, False)
    assert world.wire.cancelled
    assert failure_of(others) == failure
    assert world.link.give_up(mine, 1.0) is None
    assert world.hand_over().result is None, "whoever may ask again has a new stream at once"
    assert len(world.wires) == 2


def test_an_answer_to_what_was_given_up_makes_room_and_nothing_else(world: LinkWorld) -> None:
    chunk = world.hand_over()
    world.wire.take()
    assert world.link.give_up(chunk, 1.0) is None
    world.wire.answer(1)
    assert world.link.age_s() == 0
    after = world.hand_over()
    world.wire.take()
    world.wire.answer(2)
    assert _delivered(after)


def test_giving_up_what_is_settled_changes_nothing(world: LinkWorld) -> None:
    chunk = world.hand_over()
    world.wire.take()
    world.wire.answer(1)
    world.now += 5
    assert world.link.give_up(chunk, 1.0) is None
    assert not world.wire.cancelled


def test_the_age_is_that_of_the_oldest_without_an_answer(world: LinkWorld) -> None:
    assert world.link.age_s() == 0
    world.hand_over()
    world.wire.take()
    world.now += 1
    world.hand_over()
    world.now += 1
    assert world.link.age_s() == 2
    world.wire.answer(1)
    assert world.link.age_s() == 1


def test_an_answer_out_of_turn_is_an_error_and_settles_nothing(world: LinkWorld) -> None:
    one = world.hand_over()
    world.wire.take()
    world.hand_over()
    with pytest.raises(ValueError, match="it answered batch 2, which is not the next"):
        world.wire.answer(2)
    assert one.result is None


def test_an_answer_for_other_pushes_fails_them_for_good(world: LinkWorld) -> None:
    chunk = world.hand_over(3)
    world.wire.take()
    world.wire.answer(1, replies=2)
    failure = failure_of(chunk)
    assert (failure.kind, failure.reason) == (NodeRefused, "its reply makes no sense: 2 replies to 3 pushes")


def test_what_comes_while_a_stream_is_opened_waits_for_it() -> None:
    def meanwhile() -> None:
        if not later:
            later.append(Chunk(b"", [], None))  # type: ignore[arg-type]
            later[:] = [world.hand_over(2)]

    later: list[Chunk] = []
    world = LinkWorld(opening=meanwhile)
    world.hand_over()
    assert (len(world.wires), world.wire.sizes) == (1, [3])
    assert later[0].result is None


def test_a_link_that_is_closed_while_it_opens_a_stream_ends_it() -> None:
    closing = LinkWorld()
    closing.opening = closing.link.close
    chunk = closing.hand_over()
    assert failure_of(chunk).reason == "the link was closed"
    assert closing.wire.cancelled
    assert closing.wire.batches == []


def test_a_channel_that_was_closed_under_a_link_is_unreachable() -> None:
    def closed() -> None:
        raise ValueError("Cannot invoke RPC on closed channel!")

    world = LinkWorld(opening=closed)
    failure = failure_of(world.hand_over())
    assert (failure.kind, failure.reason) == (NodeUnreachable, "Cannot invoke RPC on closed channel!")


def test_a_closed_link_fails_what_it_has_and_whatever_comes(world: LinkWorld) -> None:
    chunks = [world.hand_over(), world.hand_over()]
    world.link.close()
    chunks.append(world.hand_over())
    assert {failure_of(chunk).reason for chunk in chunks} == {"the link was closed"}
    assert world.wire.cancelled
