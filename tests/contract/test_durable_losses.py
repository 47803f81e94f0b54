"""A real node when its Redis trims, restarts, is emptied or is away: who is told what, and what goes on."""

import uuid
from collections.abc import Iterator

import pytest

from proto.message import KeyOutcome, Outcome
from tests.parts.durable_node import WAIT_S, DurableNode
from tests.parts.process import until
from tests.parts.reader import Reader

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableNode]:
    settings = {"CLOUDPUSH_RENEW_EVERY_S": "0.2"}
    with DurableNode(tmp_path_factory.mktemp("losses"), settings, inbox_max_messages=5) as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"k-{uuid.uuid4().hex[:8]}"


def test_who_comes_back_after_its_next_message_was_trimmed_is_told(it: DurableNode, key: str) -> None:
    first = it.append(key, 0)
    for number in range(1, 9):
        it.append(key, number)
    with Reader(it.node, key, resume={key: first.place._asdict()}) as reader:
        reader.wait_for([4, 5, 6, 7, 8])
        assert reader.readies[0]["recovered"] == {key: False}
        assert reader.readies[0]["cursors"][key]["offset"] == 4


def test_who_is_here_when_its_next_message_is_trimmed_is_told(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        sent = [it.append(key, number) for number in range(9)]
        it.hint(sent[8])
        reader.wait_for([4, 5, 6, 7, 8])
        assert reader.gaps == [{"key": key, "reason": "trimmed", "epoch": sent[0].place.epoch, "offset": 4}]


def test_a_store_that_restarts_with_its_data_costs_nobody_anything(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        before = it.push(key, 0)
        reader.wait_for([0])
        it.redis.kill()
        it.redis.start()
        it.until_leased()
        after = it.push(key, 1)
        reader.wait_for([0, 1])
        assert (after.place.offset, after.place.epoch == before.place.epoch) == (2, False)
        assert reader.gaps == []
    with Reader(it.node, key, resume={key: before.place._asdict()}) as back:
        back.wait_for([1])
        assert back.readies[0]["recovered"] == {key: True}


def test_a_store_that_was_emptied_is_told_of_and_everybody_goes_on(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader, Reader(it.node, f"{key}-2", rooms=(key,)) as other:
        old = it.push(key, 0)
        reader.wait_for([0])
        it.redis.wipe()
        it.push(key, 1)
        reader.wait_for([0, 1])
        (gap,) = reader.gaps
        assert (gap["key"], gap["reason"], gap["offset"]) == (key, "epoch", 0)
        it.push(f"room:{key}", 2)
        other.wait_for([2])
        assert other.gaps == [], "it had nothing to lose"
    with Reader(it.node, key, resume={key: old.place._asdict()}) as back:
        back.wait_for([1])
        assert back.readies[0]["recovered"] == {key: False}


def test_what_is_next_in_line_is_handed_out_while_the_store_is_away(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        it.push(key, 0)
        reader.wait_for([0])
        sent = [it.append(key, number) for number in range(1, 4)]
        it.redis.kill()
        try:
            assert [it.hint(one) for one in sent] == [KeyOutcome(Outcome.DELIVERED, 1)] * 3
            reader.wait_for([0, 1, 2, 3])
        finally:
            it.redis.start()
        it.until_acked(key, key, sent[2].place)


def test_a_gap_is_filled_when_the_store_is_back(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        it.push(key, 0)
        reader.wait_for([0])
        sent = [it.append(key, number) for number in range(1, 4)]
        it.redis.kill()
        try:
            assert it.hint(sent[2]) == KeyOutcome(Outcome.QUEUED)
            away = "reading inboxes again"
            it.node.process.until(lambda: away in it.node.process.tail(), WAIT_S, "a read that failed")
            assert reader.msgs == [0]
        finally:
            it.redis.start()
        reader.wait_for([0, 1, 2, 3])
        assert reader.gaps == []


def test_what_sessions_acked_while_the_store_was_away_is_written_when_it_is_back(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        sent = it.append(key, 0, recorded=True)
        it.push(key, 1)
        reader.wait_for([0, 1])
        until(lambda: it.receipt(sent).acks == 1, WAIT_S, "acked")
        late = it.append(key, 2, recorded=True)
        it.redis.freeze()
        try:
            it.hint(late)
            reader.wait_for([0, 1, 2])
        finally:
            it.redis.thaw()
        until(lambda: it.receipt(late).acks == 1, WAIT_S, "acked")
        assert it.receipt(late).sessions == 1
