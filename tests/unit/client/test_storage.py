"""cloudpush.storage: whole whenever the process dies, and a restart that goes on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cloudpush.storage
from cloudpush import FileStorage, Listener, MemoryStorage, Place, State, StorageFailed
from cloudpush.cursors import Cursors
from tests.fakes.scripted_node import scripted_node
from tests.parts.process import until

WAIT_S = 10.0
STATE = State({"alice": Place("e1", 7), "mid:4": Place("", 0)}, ("p1", "p2"), "made-up")

LISTEN = """
import sys
from pathlib import Path
from cloudpush import FileStorage, Listener
def handle(message):
    with open(sys.argv[3], "a") as out:
        out.write(f"{message.msg}\\n")
Listener(sys.argv[1], key="alice", storage=FileStorage(sys.argv[2]), on_message=handle).run()
"""


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "state")
    assert storage.load() == State()
    storage.save(STATE)
    storage.close()
    assert FileStorage(tmp_path / "state").load() == STATE
    memory = MemoryStorage()
    memory.save(STATE)
    assert memory.load() is STATE


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.integers(1, 5))
def test_changes_add_up_to_the_last_state(tmp_path_factory: pytest.TempPathFactory, steps: Any, most: int) -> None:
    path = tmp_path_factory.mktemp("storage") / "state"
    storage, cursors, state = FileStorage(path), Cursors(), State()
    storage.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudpush.storage, "_MOST_LINES", most)
        for offset, (key, forgets) in enumerate(steps, start=1):
            cursors.forget(key) if forgets else cursors.arrive(key, Place("e", offset), f"p{offset}")
            cursors.finish(key, Place("e", offset), f"p{offset}")
            state = cursors.state()
            storage.save(state)
            with path.open("rb") as file:
                there = cloudpush.storage.read(file.read().split(b"\n")[:-1])
            assert (there, list(there.cursors)) == (state, list(state.cursors))
    storage.close()


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state"
    storage = FileStorage(path)
    storage.load()
    storage.save(State({"k": Place("e", 1)}, ("p1",)))
    before = path.read_bytes()
    storage.save(State({"k": Place("e", 2)}, ("p1", "p2")))
    storage.close()
    whole = path.read_bytes()
    for length in range(len(before), len(whole)):
        path.write_bytes(whole[:length])
        storage = FileStorage(path)
        assert storage.load() == State({"k": Place("e", 1)}, ("p1",))
        storage.save(State({"k": Place("e", 3)}, ("p3",)))
        storage.close()
        assert FileStorage(path).load().cursors == {"k": Place("e", 3)}


@pytest.mark.parametrize(("where", "what"), [(os, "fsync"), (Path, "replace")])
def test_a_write_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, what: str
) -> None:
    storage = FileStorage(tmp_path / "state")
    storage.load()
    storage.save(STATE)
    storage.close()

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(where, what, full)
    other = FileStorage(tmp_path / "state")
    with pytest.raises(StorageFailed, match="no space left"):
        other.save(State())
    assert other.load() == STATE


def test_after_a_write_that_failed_the_whole_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FileStorage(tmp_path / "state")
    storage.load()
    storage.save(State({"k": Place("e", 0)}))
    whole = cloudpush.storage._line
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        storage._synced_at = float("-inf")
        with pytest.raises(StorageFailed):
            storage.save(State({"k": Place("e", 1)}))
    storage.save(State({"k": Place("e", 2)}))
    assert (tmp_path / "state").read_bytes() == whole({"version": 1, "cursors": {"k": ["e", 2]}, "seen": []})


def test_changes_are_fsynced_at_most_once_in_a_while_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    now = 0.0
    storage = FileStorage(tmp_path / "state", fsync_every_s=1.0, clock=lambda: now)
    storage.load()
    counts = []
    for offset, now in enumerate((0.0, 0.5, 0.9, 1.0, 1.5, 1.9)):  # noqa: B007 - the clock reads it
        storage.save(State({"k": Place("e", offset)}))
        counts.append(len(synced))
    storage.close()
    counts.append(len(synced))
    storage.close()
    assert counts == [2, 2, 2, 3, 3, 3, 4]  # the whole and its directory first
    assert len(synced) == 4


@pytest.mark.parametrize(
    "text",
    [
        "no line",
        "\n",
        "[]\n",
        "{}\n",
        '{"version":2,"cursors":{},"seen":[]}\n',
        '{"version":1,"cursors":{"k":"x"},"seen":[]}\n',
        '{"version":1,"cursors":{},"seen":[]}\n{"cursors":\n{"cursors":{},"seen":[]}\n',
        "\xff\xfe\n",
    ],
)
def test_a_file_that_is_none_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StorageFailed, match="move it away to begin anew"):
        FileStorage(path).load()
    assert path.read_bytes() == text.encode("latin-1")


def test_a_second_listener_with_the_same_file_is_told(tmp_path: Path) -> None:
    first = FileStorage(tmp_path / "state")
    first.load()
    with pytest.raises(StorageFailed, match="another listener has it"):
        FileStorage(tmp_path / "state").load()
    first.close()
    FileStorage(tmp_path / "state").load()


def test_a_folder_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="No such file or directory"):
        Listener("http://127.0.0.1:1", on_message=print, storage=FileStorage(tmp_path / "no" / "state")).start()


def test_a_listener_whose_storage_fails_ends_and_does_not_ack(tmp_path: Path) -> None:
    class Full(MemoryStorage):
        def save(self, state: State) -> None:
            if state.cursors["alice"].offset:
                raise StorageFailed("here", "no space left")

    with scripted_node() as node:
        node.store("alice", 1)
        with pytest.raises(StorageFailed, match="no space left"):
            Listener(node.url, key="alice", on_message=print, storage=Full()).run(WAIT_S)
    assert node.acks == []


def test_killed_processes_handle_each_message_once_but_the_one_at_work(tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    out.touch()

    def lines() -> list[str]:
        return out.read_text().split()

    with scripted_node() as node:
        for life in range(3):
            arguments = [sys.executable, "-c", LISTEN, node.url, str(state), str(out)]
            with subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": "clients/python"}) as process:
                for n in range(200):
                    node.store("alice", f"{life}/{n}")
                wanted = life * 200 + 100
                until(lambda wanted=wanted: len(lines()) >= wanted, WAIT_S, f"{wanted} messages")  # type: ignore[misc]
                process.kill()
        got: list[Any] = []
        listener = Listener(
            node.url, key="alice", storage=FileStorage(state), on_message=lambda message: got.append(message.msg)
        )
        with listener:
            node.store("alice", "end")
            until(lambda: "end" in got, WAIT_S, "the last message")
    handled = [*lines(), *got]
    assert list(dict.fromkeys(handled)) == [*(f"{life}/{n}" for life in range(3) for n in range(200)), "end"]
    assert len(handled) - len(set(handled)) <= 3  # one a kill
    assert FileStorage(state).load().cursors["alice"] == Place("e1", 601)


def test_a_key_that_a_node_made_up_is_kept_for_the_next_start() -> None:
    storage = MemoryStorage()
    with scripted_node() as node:
        for _ in range(2):
            with Listener(node.url, on_message=print, storage=storage) as listener:
                listener.wait_ready(WAIT_S)
                until(lambda: storage.load().key is not None, WAIT_S, "the key to be kept")
    assert [auth.get("key") for auth in node.auths] == [None, "made-up"]
