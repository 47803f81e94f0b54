"""A link over a scripted wire: what goes when."""

import pytest

from proto import cloud_pb2
from proto.errors import NodeBusy, NodeRefused, NodeUnreachable
from tasks import link as module
from tasks.link_parcel import Chunk, Replies
from tasks.link_window import MOST_BATCHES
from tests.fakes.scripted_wire import LinkWorld, failure_of


@pytest.fixture
def world() -> LinkWorld:
    return LinkWorld()


def _delivered(chunk: Chunk) -> bool:
    return isinstance(chunk.result, Replies)


def _full_window(world: LinkWorld) -> list[Chunk]:
    """Send as many full batches as may be unanswered."""
    chunks = []
    for _ in range(MOST_BATCHES):
        chunks.append(world.hand_over(100))
        world.wire.take()
    assert world.wire.sizes == [100] * MOST_BATCHES
    return chunks


def test_a_push_that_comes_alone_goes_at_once_and_opens_the_stream_once(world: LinkWorld) -> None:
    one = world.hand_over()
    assert world.wire.sizes == [1]
    world.wire.take()
    world.wire.answer(1)
    two = world.hand_over()
    assert world.wire.sizes == [1, 1]
    world.wire.take()
    world.wire.answer(2)
    assert (_delivered(one), _delivered(two), len(world.wires)) == (True, True, 1)


def test_what_comes_while_two_batches_are_unanswered_goes_as_one_with_the_next_answer(world: LinkWorld) -> None:
    chunks = [world.hand_over()]
    world.wire.take()
    chunks += [world.hand_over()]
    world.wire.take()
    chunks += [world.hand_over() for _ in range(3)]
    assert world.wire.sizes == [1, 1]
    world.wire.answer(1)
    assert world.wire.sizes == [1, 1, 3]
    world.wire.take()
    world.wire.answer(2)
    world.wire.answer(3)
    assert all(map(_delivered, chunks))
    firsts = [chunk.result.first for chunk in chunks if isinstance(chunk.result, Replies)]
    assert firsts == [0, 0, 0, 1, 2]


def test_while_grpc_takes_a_message_the_next_one_waits(world: LinkWorld) -> None:
    world.hand_over()
    world.hand_over()
    assert world.wire.sizes == [1]
    world.wire.take()
    assert world.wire.sizes == [1, 1]


def test_an_answer_that_overtakes_the_news_that_its_batch_was_sent_sends_nothing_yet(world: LinkWorld) -> None:
    one = world.hand_over()
    world.wire.answer(1)
    two = world.hand_over()
    assert (_delivered(one), world.wire.sizes) == (True, [1])
    world.wire.take()
    world.wire.answer(2)
    assert _delivered(two)


def test_no_more_batches_are_unanswered_than_the_window_says(world: LinkWorld) -> None:
    _full_window(world)
    world.hand_over(100)
    assert len(world.wire.batches) == MOST_BATCHES
    world.wire.answer(1)
    assert len(world.wire.batches) == MOST_BATCHES + 1


def test_a_batch_has_a_hundred_pushes_at_most_and_keeps_the_order(world: LinkWorld) -> None:
    world.hand_over()
    world.wire.take()
    world.hand_over()
    world.wire.take()
    for size in (60, 50, 40, 30):
        world.hand_over(size)
    assert world.wire.sizes == [1, 1, 60], "more than a hundred wait, so the next batch is full"
    world.wire.take()
    assert world.wire.sizes == [1, 1, 60, 90]
    world.wire.take()
    for number in (1, 2):
        world.wire.answer(number)
    assert world.wire.sizes == [1, 1, 60, 90], "two batches are unanswered still"
    world.wire.answer(3)
    assert world.wire.sizes == [1, 1, 60, 90, 30]


def test_large_pushes_go_in_batches_of_their_own_and_no_more_bytes_than_the_node_reads_ahead(world: LinkWorld) -> None:
    for _ in range(6):
        world.hand_over(1, size=1_500_000)
        world.wire.take()
    assert world.wire.sizes == [1, 1, 1]
    world.wire.answer(1)
    assert world.wire.sizes == [1, 1, 1, 1]


def test_where_too_much_waits_who_comes_is_told_that_the_node_is_busy(
    world: LinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 150)
    _full_window(world)
    waiting = [world.hand_over(100), world.hand_over(100)]
    failure = failure_of(world.hand_over(100))
    assert (failure.kind, failure.reason) == (NodeBusy, "200 pushes wait for it already")
    world.wire.answer(1)
    assert world.hand_over(10).result is None
    assert [chunk.result for chunk in waiting] == [None, None]


def test_bytes_that_wait_are_bounded_too(world: LinkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 1_000)
    _full_window(world)
    world.hand_over(1, size=2_000)
    assert failure_of(world.hand_over()).kind is NodeBusy


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (cloud_pb2.BATCH_BUSY, NodeBusy),
        (cloud_pb2.BATCH_LATE, NodeUnreachable),
        (cloud_pb2.BATCH_INVALID, NodeRefused),
        (99, NodeRefused),
    ],
)
def test_a_batch_that_is_handed_back_fails_all_that_it_held_and_the_stream_goes_on(
    world: LinkWorld, end: int, kind: type[Exception]
) -> None:
    one = world.hand_over()
    world.wire.take()
    world.wire.answer(1, end)
    assert failure_of(one).kind is kind
    two = world.hand_over()
    world.wire.take()
    world.wire.answer(2)
    assert (_delivered(two), len(world.wires)) == (True, 1)


def test_a_node_that_is_busy_gets_half_as_much_until_it_answers_again(world: LinkWorld) -> None:
    _full_window(world)
    world.wire.answer(1, cloud_pb2.BATCH_BUSY)
    world.wire.answer(2, cloud_pb2.BATCH_BUSY)
    for number in range(3, MOST_BATCHES + 1):
        world.wire.answer(number)
    for _ in range(6):
        world.hand_over(100)
        world.wire.take()
    assert len(world.wire.batches) - MOST_BATCHES == 4 + 1, "halved once, and grown since"


def test_a_node_that_is_busy_even_with_one_batch_is_left_alone_for_a_moment(world: LinkWorld) -> None:
    for number in range(1, 5):
        world.hand_over(100)
        world.wire.take()
        world.wire.answer(number, cloud_pb2.BATCH_BUSY)
    failure = failure_of(world.hand_over())
    assert (failure.kind, failure.reason) == (NodeBusy, "is behind, and is left alone for a moment")
    world.now += 0.011
    last = world.hand_over()
    world.wire.take()
    world.wire.answer(5)
    assert _delivered(last)


def test_what_waits_when_a_node_is_to_be_left_alone_is_told_so(world: LinkWorld) -> None:
    for number in range(1, 4):
        world.hand_over(100)
        world.wire.take()
        world.wire.answer(number, cloud_pb2.BATCH_BUSY)
    world.hand_over(100)
    world.wire.take()
    waiting = world.hand_over()
    world.wire.answer(4, cloud_pb2.BATCH_BUSY)
    assert failure_of(waiting).kind is NodeBusy
