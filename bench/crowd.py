"""Many websocket sessions in one compiled process, and what they received.  Refuses to wait without a deadline."""

import json
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from bench.build import Programs
from bench.pinned import client_core, pinned

Protocol = Literal["raw", "socketio", "nats"]
IN_FLIGHT = 32  # handshakes at a time: below the backlog of 50 that eventlet.listen has
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """State of all sessions after one command; times of messages are on CLOCK_MONOTONIC.  See bench/client/main.c."""

    command: str
    in_time: bool
    connected: int
    ready: int
    ended: int
    connect_s: float
    ready_s: float
    received: int
    bytes: int
    gaps: int
    duplicates: int
    out_of_order: int
    least: int  # messages of the session that got the fewest
    most: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    first_sent_ns: int
    last_arrival_ns: int
    cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first message's sending to the last one's arrival."""
        return (self.last_arrival_ns - self.first_sent_ns) / 1e9

    def flaw(self, expected: int) -> str:
        """Say what is wrong if *expected* messages should have arrived, each once and in order; "" when nothing is."""
        wrong = {
            "missing": expected - self.received + self.duplicates,
            "duplicates": self.duplicates,
            "out of order": self.out_of_order,
            "sessions ended": self.ended,
        }
        return ", ".join(f"{count} {what}" for what, count in wrong.items() if count)


class Crowd:
    """Commands to the process; one at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def connect(self, count: int, timeout_s: float, in_flight: int = IN_FLIGHT) -> Heard:
        """Open *count* more sessions; RuntimeError when not all connect in time."""
        heard = self._ask(f"connect {count} {in_flight} {timeout_s * 1000:.0f}", timeout_s)
        if not heard.in_time or heard.ended:
            raise RuntimeError(f"{count} sessions did not connect within {timeout_s:g} s: {heard}")
        return heard

    def await_ready(self, count: int, timeout_s: float) -> Heard:
        """Wait until *count* sessions have heard ``ready``; RuntimeError when they do not in time."""
        heard = self._ask(f"await-ready {count} {timeout_s * 1000:.0f}", timeout_s)
        if heard.ready < count:
            raise RuntimeError(f"{heard.ready} of {count} sessions were ready within {timeout_s:g} s")
        return heard

    def stall(self, count: int) -> Heard:
        """Have the first *count* sessions read no more."""
        return self._ask(f"stall {count}", 0)

    def reset(self) -> Heard:
        """Forget what was received."""
        return self._ask("reset", 0)

    def wait(self, count: int, timeout_s: float) -> Heard:
        """Wait until *count* messages have arrived since the last reset, or the time is over."""
        return self._ask(f"wait {count} {timeout_s * 1000:.0f}", timeout_s)

    def await_ended(self, count: int, timeout_s: float) -> Heard:
        """Wait until *count* sessions have ended, or the time is over."""
        return self._ask(f"await-ended {count} {timeout_s * 1000:.0f}", timeout_s)

    def _ask(self, command: str, timeout_s: float) -> Heard:
        self._say(command)
        return Heard(**json.loads(self._hear(command, timeout_s)))

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _hear(self, command: str, timeout_s: float) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s + _GRACE_S)[0]:
            raise TimeoutError(f"the sessions' process does not answer to {command!r}")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sessions' process ended at {command!r}")
        return line


@contextmanager
def crowd(programs: Programs, protocol: Protocol, port: int, capacity: int, auth: str = "") -> Iterator[Crowd]:
    """Run the process; *auth* follows the key in a Socket.IO session's auth object.  All sessions close at the end."""
    argv = pinned(client_core(), [str(programs.wsclient), protocol, str(port), str(capacity), auth])
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Crowd(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
