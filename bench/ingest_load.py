"""The load of bench-ingest: pushes over HTTP and the sessions that get them, in one compiled process on one clock.

See bench/client/main.c.  Refuses to wait without a deadline.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.build import Programs
from bench.crowd import Crowd, Heard

_GRACE_S = 10.0
_CONNECT_S = 60.0
_ANSWER_S = 15.0
_STILL_S = 8.0


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of one offer's requests; times are milliseconds from when a request was due to its answer."""

    command: str
    in_time: bool
    requests: int
    accepted: int  # pushes
    throttled: int  # requests answered 429
    unavailable: int  # requests answered 503
    failed: int  # requests answered anything else but 202
    broken: int  # requests without an answer
    p50_ms: float
    p99_ms: float
    max_ms: float
    latest_ms: float  # how late the load itself was, at worst
    began_ns: int
    ended_ns: int
    cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return (self.ended_ns - self.began_ns) / 1e9

    @property
    def flaw(self) -> str:
        """Say what was neither accepted nor refused for being too much; "" when all was."""
        return ", ".join(
            f"{count} {what}" for what, count in (("failed", self.failed), ("broken", self.broken)) if count
        )

    @property
    def refused(self) -> int:
        """Requests that were refused for being too much."""
        return self.throttled + self.unavailable


class Load(Crowd):
    """Commands to one such process; one at a time."""

    def callers(self, count: int, port: int, path: str) -> None:
        """Have *count* keep-alive connections to *path*; RuntimeError when the process cannot open them."""
        self._ask(f"callers {count} {port} {path}", _ANSWER_S)

    def offer(self, seconds: float, *, items: int = 1, per_second: float = 0, fields: str = "") -> Offered:
        """Push for *seconds*: each caller as soon as it has its answer, or all together *per_second* requests.

        *fields* of each push begin with a comma and have no blanks.
        """
        self.begin_offer(seconds, items=items, per_second=per_second, fields=fields)
        return self.finish_offer(seconds)

    def begin_offer(self, seconds: float, *, items: int = 1, per_second: float = 0, fields: str = "") -> None:
        """Begin what :meth:`finish_offer` gives the end of; no other command may come between."""
        interval_ns = round(1e9 / per_second) if per_second else 0
        self._say(f"offer {items} {interval_ns} {seconds * 1000:.0f} {_ANSWER_S * 1000:.0f} {fields}")

    def finish_offer(self, seconds: float) -> Offered:
        """Wait for the end of an offer."""
        return Offered(**json.loads(self._hear("offer", seconds + _ANSWER_S)))

    def wait_all(self, count: int, timeout_s: float) -> Heard:
        """Wait until *count* messages have arrived, or none has for a while, or the time is over."""
        deadline = time.monotonic() + timeout_s
        heard = self.wait(count, min(_STILL_S, timeout_s))
        while heard.received < count and time.monotonic() < deadline:
            before, heard = heard, self.wait(count, _STILL_S)
            if heard.received == before.received:
                break
        return heard

    def lap(self) -> Heard:
        """Give what was received, then forget it, but not which number each session gets next."""
        return self._ask("lap", 0)


@contextmanager
def load(
    programs: Programs, port: int, sessions: int, *, prefix: str = "s", connect: bool = True
) -> Iterator[tuple[Load, "subprocess.Popen[str]"]]:
    """Run the process with *sessions* at the node on *port*, all ready; gives it and its process.

    Without *connect* nothing listens: it can push to the keys all the same.
    """
    argv = [str(programs.wsclient), "socketio", str(port), str(sessions), "", prefix]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        it = Load(process)
        if connect:
            it.connect(sessions, _CONNECT_S)
            it.await_ready(sessions, _CONNECT_S)
        yield it, process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
