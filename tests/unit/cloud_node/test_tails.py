"""What a node keeps in memory of messages that it handed out: only those, of each key so many, in all so many."""

from proto.message import Outcome, Place
from tests.fakes.prompt_node import PromptNode


def test_a_message_that_nobody_took_is_not_kept_so_that_a_cancel_still_counts() -> None:
    node = PromptNode()
    node.connect("picky", accepts=frozenset({1}))
    node.push("alice", op=1)
    assert node.push("alice", op=9).outcome is Outcome.FILTERED
    node.push("alice", op=1)
    del node.inboxes["alice"][2]  # it was cancelled
    _, line = node.connect("other", resume={"alice": Place("e1", 1)})
    assert line.offsets == [3]


def test_a_message_that_waits_for_a_session_that_catches_up_is_not_kept() -> None:
    node = PromptNode()
    for _ in range(2):
        node.append("alice")
    node.slow = True
    _, line = node.connect("slow")
    assert node.push("alice").outcome is Outcome.QUEUED
    del node.inboxes["alice"][3]  # it was cancelled
    node.slow = False
    node.push("alice")
    assert line.offsets == [1, 2, 4]


def test_sessions_that_come_back_soon_cost_no_read() -> None:
    node = PromptNode()
    node.connect("stays", "r")
    for _ in range(5):
        node.push("room:r")
    before = node.reads
    _, line = node.connect("back", "r", resume={"room:r": Place("e1", 2)})
    assert line.offsets == [3, 4, 5]
    assert node.reads == before


def test_a_busy_key_keeps_no_more_than_an_inbox_does() -> None:
    node = PromptNode(tail_bytes=1 << 30)
    node.connect("stays", "r")
    for _ in range(3_000):
        node.push("room:r")
    tail = node.durable._followings["room:r"].tail
    assert tail is not None
    assert [tail[0].offset, tail[-1].offset, len(tail)] == [2001, 3000, 1000]
    _, line = node.connect("back", "r", resume={"room:r": Place("e1", 1990)})
    node.durable._again("room:r")  # a page from before the tail, and the rest from the tail
    assert line.offsets == list(range(1991, 3001))


def test_what_is_remembered_for_acks_is_bounded_over_all_keys() -> None:
    node = PromptNode()
    node.durable._hands._handed.most = 50
    sessions = [node.connect(f"s{number}", f"r{number}")[0] for number in range(10)]
    for _ in range(20):
        for number in range(10):
            node.push(f"room:r{number}")
    remembered = [it.ids or {} for it in node.durable._followings.values()]
    assert sum(map(len, remembered)) == 50
    node.acks.take(sessions[3], {"room:r3": 20})
    assert node.acked == [f"e1-{offset}" for offset in range(16, 21)]


def test_a_session_that_stays_slow_is_looked_at_less_and_less_often() -> None:
    node = PromptNode()
    node.append("alice")
    node.slow = True
    _, line = node.connect("slow")
    for _ in range(20):
        node.durable._again("alice")
    assert node.delays[0] == 0.02
    assert node.delays[-1] == 0.64
    assert sum(node.delays) > 9
    node.slow = False
    node.durable._again("alice")
    assert line.offsets == [1]
