"""bench/client/sender.c: what it offers, and when it says that it was due."""

import json
import socket
import subprocess
from itertools import pairwise

import pytest

from bench.build import Programs, programs

_WAIT_S = 10.0
_INTERVAL_NS = 1_000_000


@pytest.fixture(scope="module")
def compiled() -> Programs:
    return programs()


def offered(compiled: Programs, form: str, count: int, interval_ns: int, sessions: int) -> list[bytes]:
    """Run the sender against a server that keeps all it hears; gives the lines."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_WAIT_S)
        words = [form, str(listener.getsockname()[1]), str(count), str(interval_ns), "80", str(sessions)]
        with subprocess.Popen([str(compiled.sender), *words], stdout=subprocess.PIPE) as process:
            connection, _ = listener.accept()
            connection.settimeout(_WAIT_S)
            with connection, connection.makefile("rwb") as stream:
                lines = []
                for line in stream:
                    lines.append(line)
                    if line == b"PING\r\n":
                        stream.write(b"PONG\r\n")
                        stream.flush()
            told, _ = process.communicate(timeout=_WAIT_S)
    assert json.loads(told)["sent"] == count
    return lines


def test_bodies_are_due_at_a_fixed_rate_whenever_they_are_written(compiled: Programs) -> None:
    bodies = [json.loads(line) for line in offered(compiled, "line", 50, _INTERVAL_NS, 0)]
    assert [it["n"] for it in bodies] == list(range(50))
    assert {after["t"] - before["t"] for before, after in pairwise(bodies)} == {_INTERVAL_NS}


def test_bodies_have_the_size_asked_for(compiled: Programs) -> None:
    assert {len(line.rstrip()) for line in offered(compiled, "line", 200, 0, 0)} == {80}


def test_each_session_of_nats_has_its_own_subject_and_numbers(compiled: Programs) -> None:
    lines = offered(compiled, "nats", 7, 0, 3)
    subjects = [line for line in lines if line.startswith(b"PUB ")]
    numbers = [json.loads(line)["n"] for line in lines if line.startswith(b'{"t"')]
    assert subjects == [b"PUB s%d 80\r\n" % (i % 3) for i in range(7)]
    assert numbers == [i // 3 for i in range(7)]
