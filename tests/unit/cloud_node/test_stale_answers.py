"""What was read for sessions that have gone says nothing to those that come after them under the same key."""

from collections import deque

import pytest

from cloud_node.hub import Session
from proto.message import Place
from tests.fakes.prompt_node import PromptNode


def _leaves(node: PromptNode, session: Session) -> None:
    keys = list(session.keys)
    node.hub.remove(session.sid)
    node.durable.detach(session, keys)


@pytest.mark.parametrize("what", ["a check", "a page"])
def test_who_comes_back_is_not_told_where_the_inbox_ended_before_it_was_known_here(what: str) -> None:
    node = PromptNode()
    first, line = node.connect("first")
    node.push("alice")
    node.append("alice")
    third = node.append("alice")
    node.held = deque()
    if what == "a check":
        node.durable.check_all()
    else:
        node.hint("alice", *third)
    stale, node.held = node.held, None
    _leaves(node, first)
    node.append("alice")

    # It answers to its key; where it begins is looked up once the directory knows it, and the old answer comes before.
    again = node.hub.add("again", first.identity, line)
    node.durable.attach(again, again.keys)
    for answer in stale:
        answer()
    node.durable.open(again, {"alice": Place("e1", 3)}, lambda _recovered, _begins: None, only=list(again.keys))
    assert line.offsets == [1, 4]


def test_a_page_for_sessions_that_have_gone_does_not_tell_that_the_store_lost_what_came_since() -> None:
    node = PromptNode()
    first, line = node.connect("first")
    node.push("alice")
    node.append("alice")
    node.held = deque()
    node.hint("alice", *node.append("alice"))  # asks for a page, which is read now and taken late
    _leaves(node, first)
    again = node.hub.add("again", first.identity, line)
    node.durable.attach(again, again.keys)
    node.durable.open(again, {"alice": Place("e1", 1)}, lambda _recovered, _begins: None, only=list(again.keys))
    page, look = node.held.popleft(), node.held.popleft()
    look()
    node.append("alice")
    node.hint("alice", *node.append("alice"))  # 5; asks for a page that holds 4 as well
    page()
    while node.held:
        node.held.popleft()()
    assert line.offsets == [1, 2, 3, 4, 5]
