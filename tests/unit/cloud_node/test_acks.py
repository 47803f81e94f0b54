"""An ack says what its session was handed, and no more: not what came before it, not others' ops, no other epoch."""

from collections import deque

from proto.message import Outcome, Place
from tests.fakes.prompt_node import PromptNode

ROOM = "room:r"


def test_the_first_ack_of_a_session_says_nothing_of_what_came_before_it_joined() -> None:
    node = PromptNode()
    node.connect("early", "r")
    for _ in range(3):
        node.push(ROOM)
    late, _ = node.connect("late", "r")
    node.push(ROOM)
    assert node.acks.take(late, {ROOM: 4}) == {ROOM: 4}
    assert node.acked == ["e1-4"]


def test_the_first_ack_after_a_reconnect_counts_nothing_a_second_time() -> None:
    node = PromptNode()
    node.connect("other", "r")
    node.push("alice")
    node.push("alice")
    node.cursors["alice"] = Place("e1", 2)  # the session before acked both
    again, line = node.connect("again")
    node.push("alice")
    assert line.offsets == [3]
    node.acks.take(again, {"alice": 3})
    assert node.acked == ["e1-3"]


def test_an_ack_says_nothing_of_messages_whose_op_the_session_does_not_take() -> None:
    node = PromptNode()
    node.connect("other", "r")
    picky, line = node.connect("picky", "r", accepts=frozenset({9}))
    node.push(ROOM, op=9)
    node.push(ROOM, op=10)
    node.push(ROOM, op=9)
    assert line.offsets == [1, 3]
    node.acks.take(picky, {ROOM: 3})
    assert node.acked == ["e1-1", "e1-3"]


def test_acks_go_on_after_the_store_was_emptied() -> None:
    node = PromptNode()
    session, line = node.connect("s")
    for _ in range(5):
        node.push("alice")
    node.acks.take(session, {"alice": 5})
    node.wipe("alice")
    node.push("alice", epoch="e2")
    assert line.offsets[-1] == 1
    assert node.acks.take(session, {"alice": 1}) == {"alice": 1}
    assert node.acked[-1] == "e2-1"
    assert node.ledger.notes[-1] == ("cursor", "alice", "alice", Place("e2", 1))


def test_acks_go_on_where_the_store_lost_its_newest_messages() -> None:
    node = PromptNode()
    session, line = node.connect("s")
    for _ in range(5):
        node.push("alice")
    node.acks.take(session, {"alice": 5})
    node.lose_after("alice", 3)
    node.push("alice", epoch="e2")
    assert line.offsets[-1] == 4
    node.acks.take(session, {"alice": 4})
    assert node.acked[-1] == "e2-4"


def test_the_answer_to_a_message_that_the_store_lost_is_no_ack_of_the_one_that_has_its_offset_now() -> None:
    node = PromptNode()
    session, line = node.connect("s")
    for _ in range(5):
        node.push("alice")
    ack_id = line.got[-1][2]
    assert ack_id is not None
    node.lose_after("alice", 3)
    for _ in range(2):
        node.push("alice", epoch="e2")
    node.acks.answered(session, ack_id)
    assert node.acked == []


def test_a_session_that_catches_up_acks_no_further_than_it_was_handed() -> None:
    node = PromptNode()
    _, first = node.connect("live", "r")
    for _ in range(4):
        node.push(ROOM)
    node.slow = True
    behind, line = node.connect("behind", "r", resume={ROOM: Place("e1", 1)})
    assert line.offsets == []
    ack_id = first.got[-1][2]
    assert ack_id is not None
    node.acks.answered(behind, ack_id)
    assert node.acks.take(behind, {ROOM: 4}) == {ROOM: 1}
    assert node.acked == []
    assert not [note for note in node.ledger.notes if note[0] == "cursor" and note[3] == Place("e1", 4)]


def test_a_session_for_which_it_is_not_decided_where_it_begins_acks_nothing() -> None:
    node = PromptNode()
    node.connect("live", "r")
    node.push(ROOM)

    node.held = deque()
    early, _ = node.connect("early", "r")
    assert node.acks.take(early, {ROOM: 1}) == {ROOM: 0}
    assert node.acked == []


def test_a_second_device_that_is_behind_the_first_has_its_acks_counted() -> None:
    node = PromptNode()
    node.connect("first")
    for _ in range(3):
        node.push("alice")
    node.cursors["alice"] = Place("e1", 3)
    second, line = node.connect("second", resume={"alice": Place("e1", 1)})
    assert line.offsets == [2, 3]
    node.acks.take(second, {"alice": 3})
    assert node.acked == ["e1-2", "e1-3"]


def test_a_cursor_says_nothing_of_messages_whose_op_its_session_does_not_take() -> None:
    node = PromptNode()
    node.connect("other", "r")
    for op in (9, 10, 9):
        node.push(ROOM, op=op)
    node.connect("picky", "r", accepts=frozenset({9}), resume={ROOM: Place("e1", 3)})
    assert node.acked == ["e1-1", "e1-3"]
    assert not [note for note in node.ledger.notes if note[0] == "acked before"]
    node.connect("all", "r", resume={ROOM: Place("e1", 3)})
    assert ("acked before", ROOM, 0, 3) in node.ledger.notes


def test_what_nobody_takes_is_filtered_however_it_came() -> None:
    node = PromptNode()
    node.connect("picky", accepts=frozenset({1}))
    node.append("alice")
    late = node.append("alice")
    assert node.hint("alice", *late).outcome is Outcome.FILTERED  # early: the one before it is missing
    assert node.hint("alice", *late).outcome is Outcome.FILTERED  # and again, now that a page has told of it


def test_a_push_that_was_stored_before_its_room_was_joined_reached_nobody() -> None:
    node = PromptNode()
    late = node.append(ROOM)
    node.connect("s", "r")
    assert node.hint(ROOM, *late).outcome is Outcome.NO_SESSION


def test_a_push_that_a_session_got_from_the_inbox_is_a_duplicate() -> None:
    node = PromptNode()
    late = node.append("alice")
    _, line = node.connect("s")
    assert line.offsets == [1]
    assert node.hint("alice", *late).outcome is Outcome.DUPLICATE
