"""`make run`: what it starts it ends, what it keeps it finds again, and it says what stands in its way."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from honcho.manager import KILL_WAIT

from launch.embedded import EmbeddedValkey, ValkeyFailed
from tests.parts.launch import Launch
from tests.parts.process import Child, free_port, until

_STAND_IN = Path(__file__).parent / "stand_in.py"


def with_stand_ins(home: Path, **instead: str) -> Launch:
    """A start whose tiers are stand-ins that answer 200 to everything."""
    launch = Launch(home)
    ports = launch.ports
    index = "$((${HONCHO_PROCESS_NAME##*.} - 1))"
    commands = {
        "web": f"exec python {_STAND_IN} {ports['WEB']}",
        "worker": f"exec python {_STAND_IN} {ports['WORKER']}",
        "cloud": f"exec python {_STAND_IN} $(({ports['SOCKETIO']} + {index}))",
        "flower": f"exec python {_STAND_IN} {ports['FLOWER']}",
    } | instead
    procfile = home / "Procfile"
    procfile.write_text("".join(f"{name}: {command}\n" for name, command in commands.items()), encoding="utf-8")
    launch.env["CLOUDPUSH_PROCFILE"] = str(procfile)
    return launch


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started = with_stand_ins(tmp_path)
    yield started
    started.child.terminate()


def test_ready_names_every_url_and_sigterm_ends_all_with_zero(launch: Launch) -> None:
    launch.start()
    node = launch.ports["SOCKETIO"]
    assert launch.output.rstrip().splitlines()[-1] == (
        f"ready: http://localhost:{launch.ports['WEB']}  nodes http://localhost:{node} http://localhost:{node + 1}"
        f"  flower http://localhost:{launch.ports['FLOWER']}"
    )
    assert "ANONYMOUS" in launch.output
    os.kill(launch.child.pid, signal.SIGTERM)
    assert launch.until_ended() == 0
    assert launch.left() == {}


@pytest.mark.parametrize("to_all", [False, True], ids=["starter", "group"])
def test_a_closed_terminal_ends_all(launch: Launch, to_all: bool) -> None:
    launch.start()
    if to_all:
        launch.child.signal(signal.SIGHUP)
    else:
        os.kill(launch.child.pid, signal.SIGHUP)
    assert launch.until_ended() == 0
    until(lambda: launch.left() == {}, 15, "the end of all that was started")


# Prints like a starter, and gets SIGTERM in the middle of the line that shows "go".
_INTERRUPTED = """
import io, os, signal, sys
from launch.foreman import Foreman

class Interrupted(io.FileIO):
    def write(self, data):
        if b"| go" in bytes(data):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().write(data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Interrupted(1, "w")))
foreman = Foreman(lambda: None)
foreman.add_process("part.1", "echo go; exec sleep 60")
foreman.loop()
print("all ended", foreman.ended)
"""


def test_nohup_outlives_a_closed_terminal(launch: Launch) -> None:
    launch.child.argv = ["nohup", *launch.child.argv]
    launch.start()
    launch.child.signal(signal.SIGHUP)
    os.kill(launch.child.pid, signal.SIGTERM)
    assert launch.until_ended() == 0
    assert "SIGTERM received" in launch.output


def test_a_stop_that_comes_while_a_line_is_printed_is_a_stop(tmp_path: Path) -> None:
    child = Child("foreman", [sys.executable, "-c", _INTERRUPTED], log=tmp_path / "log", cwd=Path(__file__).parents[2])
    child.start()
    try:
        until(lambda: not child.running, 20, "the end")
        assert (child.returncode, child.tail().splitlines()[-1]) == (0, "all ended {}")
    finally:
        child.kill()


@pytest.mark.parametrize("lines", [0, 1, 4])
def test_a_broken_pipe_ends_all(launch: Launch, lines: int) -> None:
    launch.child.argv = ["sh", "-c", f"{sys.executable} -m launch | head -n {lines} >/dev/null"]
    launch.child.start()
    assert launch.until_ended() == 0
    assert launch.output == "cloudpush: nobody reads the output any more, so everything was stopped\n"
    until(lambda: launch.left() == {}, 15, "the end of all that was started")


def test_what_is_not_ready_is_named(tmp_path: Path) -> None:
    launch = with_stand_ins(tmp_path, flower="sleep 60")
    launch.child.start()
    try:
        launch.child.until(lambda: "» waiting for flower.1 (" in launch.output, 60, "a line that names flower")
    finally:
        os.kill(launch.child.pid, signal.SIGINT)
        assert launch.until_ended() == 0


def test_a_part_that_ends_by_itself_ends_the_run_by_name(launch: Launch) -> None:
    launch.start()
    os.kill(launch.pid_of("cloud.2"), signal.SIGKILL)
    assert launch.until_ended() == 1
    assert "ended by itself, so everything was stopped: cloud.2 (exit -9)" in launch.output
    assert launch.left() == {}


def test_the_end_of_the_embedded_valkey_ends_the_run_by_name(launch: Launch) -> None:
    launch.start()
    valkey = next(pid for pid, command in launch.left().items() if "unixsocket:" in command)
    os.kill(valkey, signal.SIGKILL)
    assert launch.until_ended() == 1
    assert "everything was stopped: valkey" in launch.output


def test_nothing_outlives_a_killed_starter(launch: Launch) -> None:
    launch.start()
    sockets = [found[1] for command in launch.left().values() if (found := re.search(r"unixsocket:(\S+)", command))]
    assert [Path(name).is_socket() for name in sockets] == [True]
    os.kill(launch.child.pid, signal.SIGKILL)
    until(lambda: launch.left() == {}, 15, "the end of all that was started")
    assert not Path(sockets[0]).parent.exists()


@pytest.mark.parametrize("shell", ["exec", ""])
def test_a_stuck_part_is_killed_but_has_its_time_to_drain(tmp_path: Path, shell: str) -> None:
    launch = with_stand_ins(tmp_path, worker=f"{shell} python {_STAND_IN} {free_port()} stubborn")
    launch.child.start()
    launch.child.until(lambda: "» waiting for worker.1 (" in launch.output, 60, "all but the worker ready")
    launch.child.until(lambda: "| stubborn" in launch.output, 60, "the stubborn worker")
    asked_at = time.monotonic()
    os.kill(launch.child.pid, signal.SIGTERM)
    assert launch.until_ended() == 0
    assert time.monotonic() - asked_at > KILL_WAIT
    assert launch.left() == {}


def test_a_port_in_use_is_named_with_its_setting_before_anything_starts(launch: Launch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", launch.ports["GRPC"] + 1)):
        launch.child.start()
        assert launch.until_ended() == 1
    assert f"port {launch.ports['GRPC'] + 1} (cloud.2): free it, or set CLOUDPUSH_GRPC_PORT" in launch.output
    assert not (tmp_path / "data").exists()


def test_the_embedded_valkey_keeps_data_over_a_restart_and_a_crash(tmp_path: Path) -> None:
    for expected, value in ((None, "one"), (b"one", "two")):
        valkey = EmbeddedValkey(tmp_path)
        valkey.start()
        with redis.Redis.from_url(valkey.store_url) as client:
            assert client.get("kept") == expected
            client.set("kept", value)
        valkey.stop()
        assert not valkey.socket.parent.exists()

    aof = next((tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof"))
    with aof.open("ab") as torn:
        torn.write(b"*3\r\n$3\r\nSET\r\n$4\r\nke")
    valkey = EmbeddedValkey(tmp_path)
    valkey.start()
    with redis.Redis.from_url(valkey.store_url) as client:
        assert client.get("kept") == b"two"
    valkey.stop()


def test_two_starts_never_share_a_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.embedded._LOCK_S", 0.2)
    first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
    first.start()
    try:
        with pytest.raises(ValkeyFailed, match="another start uses"):
            second.start()
    finally:
        first.stop()
