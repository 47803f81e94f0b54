"""A real node on a real Redis hands out durable messages: gaps, resuming, rooms, acks and receipts."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from proto.message import KeyOutcome, Outcome, Place
from store.states import State
from tests.parts.crowd import Crowd, Member
from tests.parts.durable_node import WAIT_S, DurableNode
from tests.parts.process import until
from tests.parts.reader import Reader
from tests.parts.vanilla import Vanilla

pytestmark = pytest.mark.services

_DELIVERED, _QUEUED = KeyOutcome(Outcome.DELIVERED, 1), KeyOutcome(Outcome.QUEUED)


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableNode]:
    with DurableNode(tmp_path_factory.mktemp("durable"), {}) as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"k-{uuid.uuid4().hex[:8]}"


def _cursor(place: Place) -> dict[str, Any]:
    return place._asdict()


def test_what_was_accepted_while_nobody_was_there_comes_first_and_in_order(it: DurableNode, key: str) -> None:
    for number in range(3):
        it.append(key, number)
    with Reader(it.node, key) as reader:
        reader.wait_for([0, 1, 2])
        assert reader.readies[0]["recovered"] == {}
        assert reader.readies[0]["cursors"][key] == {"epoch": "", "offset": 0}
        (first, *_) = reader.pushes
        assert (first["key"], first["offset"], first["op"]) == (key, 1, 9)
        assert it.hint(it.append(key, 3)) == _DELIVERED
        reader.wait_for([0, 1, 2, 3])


def test_a_gap_is_filled_from_the_inbox_and_nothing_comes_twice(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        sent = [it.append(key, number) for number in range(5)]
        for one in (sent[0], sent[4], sent[2], sent[4], sent[1], sent[0]):
            it.hint(one)
        reader.wait_for([0, 1, 2, 3, 4])
        assert {it.hint(one).outcome for one in sent} == {Outcome.DUPLICATE}
        it.push(key, 5)
        reader.wait_for([0, 1, 2, 3, 4, 5])
        assert reader.gaps == []


def test_a_session_that_comes_back_goes_on_after_its_cursor(it: DurableNode, key: str) -> None:
    sent = [it.append(key, number) for number in range(5)]
    with Reader(it.node, key, resume={key: _cursor(sent[1].place)}) as reader:
        reader.wait_for([2, 3, 4])
        assert reader.readies[0]["recovered"] == {key: True}
        assert reader.readies[0]["cursors"][key] == _cursor(sent[1].place)


def test_a_cursor_of_an_epoch_that_nobody_knows_is_not_recovered(it: DurableNode, key: str) -> None:
    it.append(key, 0)
    with Reader(
        it.node, key, resume={key: {"epoch": "0badc0de", "offset": 9}, "else": _cursor(Place("", 1))}
    ) as reader:
        reader.wait_for([0])
        assert reader.readies[0]["recovered"] == {key: False}


def test_without_a_cursor_a_session_goes_on_after_what_its_key_has_acked(it: DurableNode, key: str) -> None:
    with Reader(it.node, key) as reader:
        sent = [it.push(key, number) for number in range(3)]
        reader.wait_for([0, 1, 2])
        it.until_acked(key, key, sent[2].place)
    for number in (3, 4):
        it.append(key, number)
    with Reader(it.node, key) as reader:
        reader.wait_for([3, 4])
        assert reader.readies[0]["recovered"] == {key: True}


def test_the_answer_to_a_push_is_written_to_its_receipt(it: DurableNode, key: str) -> None:
    sent = it.append(key, 0, recorded=True)
    assert it.receipt(sent).state is State.DISPATCHED
    with Reader(it.node, key) as reader:
        it.hint(sent)
        reader.wait_for([0])
        until(lambda: it.receipt(sent).state is State.ACKED, WAIT_S, "acked")
    receipt = it.receipt(sent)
    assert (receipt.sessions, receipt.acks, receipt.place) == (1, 1, sent.place)
    assert receipt.emitted_ms
    assert receipt.acked_ms is not None
    assert receipt.emitted_ms <= receipt.acked_ms


def test_a_client_that_answers_nothing_leaves_its_pushes_emitted_and_may_ack_by_event(
    it: DurableNode, key: str
) -> None:
    sent = [it.append(key, {"n": number}, recorded=True) for number in range(3)]
    with closing(Crowd([Member(it.node.socketio_port, key)])) as crowd:
        it.hint(sent[2])
        crowd.until_pushed(crowd.members, 3)
        until(lambda: all(it.receipt(one).state is State.EMITTED for one in sent), WAIT_S, "emitted")
        assert [it.receipt(one).sessions for one in sent] == [1, 1, 1]
    assert it.cursor(key, key) is None


def test_an_ack_event_says_what_is_acked_and_refuses_what_is_no_ack(it: DurableNode, key: str) -> None:
    with Reader(it.node, key, rooms=("a",)) as reader:
        sent = [it.push(key, number) for number in range(3)]
        reader.wait_for([0, 1, 2])
        assert reader.ask("ack", {key: 3}) == {"acked": {key: 3}}
        assert reader.ask("ack", {key: 1, "room:a": 0}) == {"acked": {key: 3, "room:a": 0}}
        assert reader.ask("ack", {key: 4}) == {"acked": {key: 3}}
        for hostile in (None, [1], {key: "3"}, {"somebody": 1}, {key: -1}):
            assert reader.ask("ack", hostile)["error"]["code"] == "invalid_ack"
        it.until_acked(key, key, sent[2].place)


@pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"])
def test_socket_ios_own_client_gets_answers_and_acks_durable_messages(
    it: DurableNode, key: str, transports: str
) -> None:
    sent = [it.append(key, {"n": number}, recorded=True) for number in range(3)]
    run = Vanilla("durable", it.node, {"key": key}, transports, "3")
    with closing(run):
        assert run.step("ready")["cursors"][key] == {"epoch": "", "offset": 0}
        for number, one in enumerate(sent):
            push = run.step("push")
            assert (push["msg"], push["offset"], push["epoch"]) == ({"n": number}, one.place.offset, one.place.epoch)
        assert run.step("acked") == {"acked": {key: 3}}
        assert run.until_ended() == 0
    until(lambda: all(it.receipt(one).state is State.ACKED for one in sent), WAIT_S, "acked")
    assert [it.receipt(one).acks for one in sent] == [1, 1, 1]
    it.until_acked(key, key, sent[2].place)


@pytest.mark.parametrize(
    ("ask", "msgs", "offset"),
    [
        ({}, [], 5),
        ({"history": 2}, [3, 4], 3),
        ({"history": 1000}, [0, 1, 2, 3, 4], 0),
        ({"after": 1}, [1, 2, 3, 4], 1),
        ({"after": 4, "history": 3}, [4], 4),
    ],
)
def test_a_room_is_joined_at_its_end_with_its_last_few_or_after_a_cursor(
    it: DurableNode, key: str, ask: dict[str, Any], msgs: list[int], offset: int
) -> None:
    sent = [it.append(f"room:{key}", number) for number in range(5)]
    asked = {"room": key} | ask
    if "after" in ask:
        asked["after"] = _cursor(sent[ask["after"] - 1].place)
    with Reader(it.node, f"me-{key}") as reader:
        joined = reader.ask("join", asked)
        epoch = sent[0].place.epoch if offset else ""
        assert (joined["rooms"], joined["cursor"]) == ([key], {"epoch": epoch, "offset": offset})
        assert joined.get("recovered") is (True if "after" in ask else None)
        reader.wait_for(msgs)
        it.push(f"room:{key}", "new")
        reader.wait_for([*msgs, "new"])


def test_a_session_of_several_keys_gets_each_in_its_order(it: DurableNode, key: str) -> None:
    for number in range(3):
        it.append(key, number)
    with Reader(it.node, key, rooms=(key,)) as reader:
        for number in range(3):
            it.push(key, 3 + number)
            it.push(f"room:{key}", number)
        until(lambda: len(reader.pushes) == 9, WAIT_S, "nine messages")
        by_key: dict[str, list[Any]] = {}
        for push in reader.pushes:
            by_key.setdefault(push["key"], []).append(push["msg"])
        assert by_key == {key: [0, 1, 2, 3, 4, 5], f"room:{key}": [0, 1, 2]}


def test_a_thousand_sessions_that_come_back_at_once_and_miss_the_same_cost_few_reads(it: DurableNode, key: str) -> None:
    room = f"room:{key}"
    sent = [it.append(room, {"n": number}) for number in range(60)]
    resume = {room: _cursor(sent[9].place)}
    before = it.metric("cloudpush_node_inbox_pages_total")
    members = [Member(it.node.socketio_port, f"{key}-{n}", (key,), resume=resume) for n in range(1000)]
    with closing(Crowd(members)) as crowd:
        crowd.until_pushed(members, 50)
        pages = it.metric("cloudpush_node_inbox_pages_total") - before
        it.push(room, {"n": 60})
        crowd.until_pushed(members, 51)
        assert all(member.numbers == list(range(10, 61)) for member in members)
    assert pages <= 60, "sessions that wait for the same page share it"


def test_one_that_reads_slowly_catches_up_with_much_and_is_not_closed(it: DurableNode, key: str) -> None:
    rooms = [f"{key}-{number}" for number in range(4)]
    text = "x" * 60_000
    resume: dict[str, Any] = {}
    for room in rooms:
        for number in range(50):
            sent = it.append(f"room:{room}", {"n": number, "x": text})
        resume[f"room:{room}"] = _cursor(Place(sent.place.epoch, 0))
    before = it.metric("cloudpush_node_slow_sessions_total")
    slow = Member(it.node.socketio_port, key, rooms, buffer=16_384, resume=resume)
    with closing(Crowd([slow])) as crowd:
        crowd.until_pushed([slow], 200, timeout_s=60)
        assert sorted(slow.numbers) == sorted(list(range(50)) * 4)
        assert slow.closed is None
    assert it.metric("cloudpush_node_slow_sessions_total") == before


def test_a_durable_message_whose_time_is_over_is_not_handed_out(it: DurableNode, key: str) -> None:
    gone = it.append(key, "gone", ttl_ms=1)
    it.kept.wait_ms(gone.push.expires_ms)
    it.append(key, "stays")
    with Reader(it.node, key) as reader:
        reader.wait_for(["stays"])
        assert it.hint(gone).outcome is not Outcome.DELIVERED
        it.push(key, "more")
        reader.wait_for(["stays", "more"])


def test_a_cancelled_message_is_passed_over(it: DurableNode, key: str) -> None:
    sent = [it.append(key, number) for number in range(3)]
    assert it.kept.remove(key, sent[1].push.push_id) == 2
    with Reader(it.node, key) as reader:
        reader.wait_for([0, 2])


@pytest.fixture
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableNode]:
    """A node that often looks for what workers did not get through to it."""
    with DurableNode(tmp_path_factory.mktemp("checking"), {"CLOUDPUSH_INBOX_CHECK_S": "0.2"}) as started:
        yield started


def test_a_message_of_which_no_worker_told_is_found(checking: DurableNode, key: str) -> None:
    with Reader(checking.node, key, rooms=(key,)) as reader:
        checking.append(f"room:{key}", "unsent")
        reader.wait_for(["unsent"])
