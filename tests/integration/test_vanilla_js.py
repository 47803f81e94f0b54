"""The client that browsers have, Socket.IO's own in JavaScript, works without a line of ours in it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.sending import push
from tests.parts.fleet import Fleet
from tests.parts.vanilla import Vanilla

pytestmark = pytest.mark.services

Name = Callable[[str], str]


@pytest.fixture
def vanilla() -> Iterator[Callable[..., Vanilla]]:
    """Runs of one test."""
    runs: list[Vanilla] = []

    def run(*arguments: Any) -> Vanilla:
        runs.append(Vanilla(*arguments))
        return runs[-1]

    yield run
    for one in runs:
        one.close()


@pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"])
def test_it_connects_joins_receives_and_leaves(
    fleet: Fleet, vanilla: Callable[..., Vanilla], name: Name, transports: str
) -> None:
    node, room = fleet.nodes[0], name("room")
    run = vanilla("session", node, {"key": name("js"), "rooms": ["first"]}, transports, room)
    ready = run.step("ready")
    assert (ready["key"], ready["node"], ready["recovered"]) == (name("js"), node.node_id, {})
    assert run.step("join")["rooms"] == ["first", room]

    push_id = push(fleet, {"text": "你好\u2028🎉", "n": 2**53 - 1}, rooms=[room], op=1001)

    got = run.step("push")
    assert got["push"] == {
        "op": 1001,
        "msg": {"text": "你好\u2028🎉", "n": 2**53 - 1},
        "key": f"room:{room}",
        "push_id": push_id,
    }
    if "," not in transports:
        assert got["transport"] == transports
    assert run.step("leave") == {"rooms": ["first"]}
    assert run.step("disconnect") == "io client disconnect"
    assert run.until_ended() == 0


@pytest.mark.parametrize("transports", ["websocket", "polling"])
@pytest.mark.parametrize(
    ("auth", "message", "code", "field"),
    [
        ({"key": "all"}, "key: 'all' is reserved: to reach every session, say all: true", "invalid_key", "key"),
        ({"key": "k", "colour": "red"}, "colour: unknown field", "invalid_auth", "colour"),
        ({"rooms": ["ok", ""]}, "rooms[1]: must not be empty", "invalid_room", "rooms[1]"),
    ],
)
def test_a_refusal_says_why_in_its_message_and_for_programs_in_its_data(
    fleet: Fleet, vanilla: Callable[..., Vanilla], transports: str, auth: Any, message: str, code: str, field: str
) -> None:
    run = vanilla("refused", fleet.nodes[0], auth, transports)
    expected = {"message": message, "data": {"code": code, "field": field}, "again": False}
    assert run.step("connect_error") == expected
    assert run.until_ended() == 0


def test_it_comes_back_by_itself_after_its_node_was_drained(
    spare_fleet: Fleet, vanilla: Callable[..., Vanilla], name: Name
) -> None:
    fleet = spare_fleet
    node = fleet.start_node()
    try:
        run = vanilla("returns", node, {"key": name("js")}, "websocket")
        first = run.step("ready")
        node.process.terminate()
        assert run.step("disconnect") == "transport close"
        node.process.start()
        while (step := run.next_step())[0] == "connect_error":
            assert step[1]["again"], "it tries again while the node is away"
        assert step[0] == "ready"
        assert step[1]["key"] == first["key"]
        assert step[1]["session"] != first["session"]
        assert run.step("disconnect") == "io client disconnect"
    finally:
        node.process.terminate()
        fleet.nodes.remove(node)
