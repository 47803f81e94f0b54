"""``cloudpush listen`` on a scripted node: cursors in a file, places, gaps."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from cloudpush.cli import main
from tests.fakes.scripted_node import ScriptedNode, scripted_node


def listen(node: ScriptedNode, *arguments: str) -> Result:
    asked = ["listen", "--key", "alice", "--node", node.url, "--timeout-s", "10", *arguments]
    return CliRunner().invoke(main, asked)


def test_with_a_state_file_the_next_start_goes_on_after_the_last_one_printed(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with scripted_node() as node:
        for n in range(3):
            node.store("alice", n)
        first = listen(node, "--state", state, "--count", "2", "--json")
        node.store("alice", 3)
        second = listen(node, "--state", state, "--count", "2", "--json")
    assert [json.loads(line)["msg"] for line in (first.stdout + second.stdout).splitlines()] == [0, 1, 2, 3]
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert node.acks[-1] == {"alice": 4}


def test_places_are_shown_and_gaps_are_told(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with scripted_node() as node:
        node.store("alice", "one")
        first = listen(node, "--state", state, "--count", "1")
        for n in range(5):
            node.store("alice", n)
        node.gone["alice"] = 5
        second = listen(node, "--state", state, "--count", "1")
    assert 'push_id=alice/e1/1  offset=1  epoch=e1  "one"' in first.stdout
    assert "gap (not recovered) key=alice: messages were lost; on after offset=5 epoch=e1\n" in second.stderr
    assert "offset=6  epoch=e1  4\n" in second.stdout


def test_a_rooms_last_messages_come_first() -> None:
    with scripted_node() as node:
        for n in range(9):
            node.store("room:r", n)
        result = listen(node, "--room", "r", "--history", "2", "--count", "2", "--json")
    assert [json.loads(line)["msg"] for line in result.stdout.splitlines()] == [7, 8]


def test_a_state_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("hello")
    with scripted_node() as node:
        result = listen(node, "--state", str(tmp_path / "state"))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "move it away to begin anew" in result.stderr


def test_too_few_messages_in_time_are_told() -> None:
    with scripted_node() as node:
        node.store("alice", 1)
        result = listen(node, "--count", "2", "--timeout-s", "0.6")
    assert (result.exit_code, "not 2 messages within 0.6 s, but 1" in result.stderr) == (1, True)
