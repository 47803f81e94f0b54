"""cloudpush.listener: rooms, their past, and what a session keeps over connections."""

from typing import Any

import pytest

from cloudpush import Listener, MemoryStorage, Place, Refused
from tests.fakes.scripted_node import ScriptedNode, scripted_node
from tests.parts.process import until

WAIT_S = 10.0


def listener(node: ScriptedNode, got: list[Any], **asked: Any) -> Listener:
    return Listener(node.url, key="alice", on_message=lambda message: got.append(message.msg), **asked)


def test_a_joined_room_stays_joined_and_goes_on_after_a_reconnect() -> None:
    got: list[Any] = []
    with scripted_node() as node, listener(node, got) as session:
        session.wait_ready(WAIT_S)
        node.store("room:r", "before")
        assert session.join("r") == ("r",)
        node.store("room:r", "live")
        until(lambda: got == ["live"], WAIT_S, "the live message")
        node.drop()
        node.store("room:r", "while away")
        until(lambda: got == ["live", "while away"], WAIT_S, "the message of meanwhile")
    assert node.joins == [{"room": "r"}]
    assert (node.auths[1]["rooms"], node.auths[1]["resume"]["room:r"]) == (["r"], {"epoch": "e1", "offset": 2})


def test_a_rooms_past_comes_first_and_once() -> None:
    got: list[Any] = []
    with scripted_node() as node:
        for n in range(10):
            node.store("room:r", n)
        with listener(node, got, rooms=["r"], history=3) as session:
            session.wait_ready(WAIT_S)
            until(lambda: got == [7, 8, 9], WAIT_S, "the last three")
            node.drop()
            node.store("room:r", 10)
            until(lambda: got == [7, 8, 9, 10], WAIT_S, "the next one")
    assert node.joins == [{"room": "r", "history": 3}]
    assert ["rooms" in auth for auth in node.auths] == [False, True]


def test_a_rooms_past_is_not_asked_for_where_there_is_a_cursor() -> None:
    got: list[Any] = []
    storage = MemoryStorage()
    with scripted_node() as node:
        for _ in range(2):
            node.store("room:r", "one more")
            with listener(node, got, rooms=["r"], history=1, storage=storage):
                until(lambda: bool(got), WAIT_S, "a message")
            assert got.pop() == "one more"
            assert got == []
    assert [auth.get("rooms") for auth in node.auths] == [None, ["r"]]


def test_joining_again_goes_on_from_our_cursor_unless_the_room_was_left() -> None:
    got: list[Any] = []
    with scripted_node() as node, listener(node, got) as session:
        session.wait_ready(WAIT_S)
        session.join("r")
        node.store("room:r", 1)
        until(lambda: got == [1], WAIT_S, "a message")
        session.join("r")
        session.leave("r")
        session.join("r")
        session.join("r", after=Place("e1", 0))
        session.join("r", history=5)
    assert node.joins == [
        {"room": "r"},
        {"room": "r", "after": {"epoch": "e1", "offset": 1}},
        {"room": "r"},
        {"room": "r", "after": {"epoch": "e1", "offset": 0}},
        {"room": "r", "history": 5},
    ]


def test_a_refused_join_is_refused_here_and_not_asked_for_again() -> None:
    with scripted_node() as node, listener(node, []) as session:
        session.wait_ready(WAIT_S)
        node._sio.on("join", lambda *_: {"error": {"code": "forbidden_room", "message": "no"}})
        with pytest.raises(Refused, match="no \\(forbidden_room\\)"):
            session.join("secret")
        node.drop()
        until(lambda: len(node.auths) == 2, WAIT_S, "a second connection")
    assert "rooms" not in node.auths[1]


def test_accepted_ops_are_kept_over_connections() -> None:
    with scripted_node() as node, listener(node, [], accepts=[1]) as session:
        session.wait_ready(WAIT_S)
        session.accept({9, 7})
        node.drop()
        until(lambda: len(node.auths) == 2, WAIT_S, "a second connection")
    assert [auth["accepts"] for auth in node.auths] == [[1], [7, 9]]


def test_a_callback_may_join() -> None:
    got: list[Any] = []
    with scripted_node() as node:
        session: Listener = listener(node, got, on_ready=lambda _: session.join("r"))
        with session:
            until(lambda: bool(node.joins), WAIT_S, "the join")
            until(lambda: "room:r" in next(iter(node.sids.values()), ()), WAIT_S, "to be in the room")
            node.store("room:r", "hello")
            until(lambda: got == ["hello"], WAIT_S, "its message")
