"""One child process of a test: its own process group, its log in a file, its end certain.

Refuses to wait without a deadline, and to leave a group behind.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_POLL_S = 0.05
_TAIL_LINES = 40
# Below those that the system gives to outgoing connections, which would take a free port before its server does.
_PORTS = range(15_000, 32_000)
_TRIES = 1_000
_given: set[int] = set()


class NotInTime(AssertionError):
    """What a test waited for did not come; the message says what, and shows the child's last lines."""


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll *condition* until it holds; NotInTime naming *what* when it does not within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {timeout_s:g} s: {what}")
        time.sleep(_POLL_S)


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody uses now, and that was not given before."""
    return free_row(1)


def free_row(count: int) -> int:
    """Give the first of *count* neighbouring ports that nobody uses now; AssertionError when there is no such row."""
    for _ in range(_TRIES):
        row = range(first := random.choice(_PORTS), first + count)
        if _given.isdisjoint(row) and all(_can_bind(port) for port in row):
            _given.update(row)
            return first
    raise AssertionError(f"no {count} neighbouring free ports in {_PORTS}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether something takes connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """A program that runs from :meth:`start` to :meth:`terminate` or :meth:`kill`, and may be started again."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._env = os.environ if env is None else env  # read at each start
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; its output is appended to the log."""
        assert not self.running, f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also the id of the group."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs or before it started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Like :func:`until`, but fails at once when the child ends, and shows its log."""

        def holds() -> bool:
            if not self.running:
                raise NotInTime(f"ended with {self.returncode} before: {what}")
            return condition()

        try:
            until(holds, timeout_s, what)
        except NotInTime as late:
            raise NotInTime(f"{self.name}: {late}\n--- end of {self.log}\n{self.tail()}") from None

    def terminate(self, timeout_s: float = 15.0) -> None:
        """Ask the group to end, wait, and end what is left by force."""
        if self.running:
            self.signal(signal.SIGTERM)
            assert self._process is not None
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise NotInTime(f"{self.name}: not ended within {timeout_s:g} s of SIGTERM\n{self.tail()}") from None
        self._sweep()

    def kill(self) -> None:
        """End the whole group as a crash would."""
        if self._process is not None:
            self._sweep()
            self._process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group."""
        os.killpg(self.pid, number)

    def tail(self) -> str:
        """The last lines of the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _sweep(self) -> None:
        if self._process is None:
            return
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            return
