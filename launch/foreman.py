"""Runs the Procfile's processes by honcho, and adds three promises to it.

1. The first process that ends by itself ends the run, by name.  2. Nothing outlives the run: not a stuck process, not a
process's own children, not even when the starter itself is killed.  3. A stop that comes during the start counts too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from honcho.manager import KILL_WAIT, Manager
from honcho.printer import Message, Printer
from honcho.process import Process

_LOOK_S = 0.2
_STUCK_S = KILL_WAIT + 3.0
OWN_NAME = "launch"


class OwnLines(Printer):  # type: ignore[misc]
    """Prefixes the lines of children, and leaves the starter's own bare."""

    def write(self, message: Message) -> None:
        """Print one message."""
        if message.name == OWN_NAME:
            print(message.data, file=self.output, flush=True)
        else:
            super().write(message)


class GuardedProcess(Process):  # type: ignore[misc]
    """One process of the Procfile, whose whole group ends when it or the starter ends."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """Run the command until its end; called in a process of its own."""
        threading.Thread(target=self._guard, args=(os.getppid(),), daemon=True).start()
        super().run(events, ignore_signals)

    def _guard(self, parent: int) -> None:
        while os.getppid() == parent:
            if self._child is not None and self._child.poll() is not None:
                # A grandchild (a shell's, or a server's worker) may still drain; it also hides this end from honcho.
                self._end_group()
                return
            time.sleep(_LOOK_S)
        self._signal(signal.SIGTERM)
        self._end_group()
        os._exit(1)

    def _end_group(self) -> None:
        deadline = time.monotonic() + KILL_WAIT
        while self._signal(0) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Signal the group; False when nothing is left of it."""
        if self._child is None:
            return False
        self._child.poll()
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return False
        return True


class Foreman(Manager):  # type: ignore[misc]
    """Starts what was added, calls *when_started* once, and ends all when it is asked or one of them ends.

    After ``loop()``: *ended* names the processes that ended by themselves, with how; empty when a signal asked.
    """

    def __init__(self, when_started: Callable[[], None]) -> None:
        super().__init__(OwnLines(sys.stdout))
        self._process_ctor = GuardedProcess
        self._when_started = when_started
        self._asked_early = False
        self.ended: dict[str, int] = {}

    def say(self, line: str) -> None:
        """Print a line of the starter's own; from any thread."""
        self.events.put(Message(type="line", data=line, time=self._clock.now(), name=OWN_NAME, colour=None))

    def stop_because(self, name: str, returncode: int) -> None:
        """End all because a part that is not in the Procfile ended by itself; from any thread."""
        self.ended.setdefault(name, returncode)
        self.terminate()

    def terminate(self) -> None:
        """End all, once; what does not end in time is killed."""
        if self._terminating:
            return
        if not super()._all_started():
            self._asked_early = True
            return
        self.ended |= {name: known["returncode"] for name, known in self._processes.items() if "returncode" in known}
        last_resort = threading.Timer(_STUCK_S, self.kill)
        last_resort.daemon = True
        last_resort.start()
        super().terminate()

    def _start(self) -> None:
        super()._start()
        self._when_started()

    def _all_started(self) -> bool:
        started: bool = super()._all_started()
        if started and self._asked_early:
            self._asked_early = False
            self.terminate()
        return started
