"""Runs the Procfile's processes by honcho, and adds three promises to it.

1. The first process that ends by itself ends the run, by name.  2. Nothing outlives the run: not a stuck process, not a
process's own children, not even when the starter itself is killed.  3. A stop that comes during the start counts too,
and so does a terminal that is closed.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from honcho.manager import KILL_WAIT, Manager
from honcho.printer import Message, Printer
from honcho.process import Process

_LOOK_S = 0.2
_STUCK_S = KILL_WAIT + 3.0
OWN_NAME = "launch"


def on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have *handler* called for each signal that asks us to stop; `nohup` keeps SIGHUP away from us."""
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def let_output_go() -> None:
    """After a closed terminal or a broken pipe: what is still to be printed goes nowhere, and does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class OwnLines(Printer):  # type: ignore[misc]
    """Prefixes the lines of children, and leaves the starter's own bare; calls *when_unread* if nobody reads them."""

    def __init__(self, when_unread: Callable[[], None]) -> None:
        super().__init__(sys.stdout)
        self._when_unread = when_unread

    def write(self, message: Message) -> None:
        """Print one message."""
        try:
            if message.name == OWN_NAME:
                print(message.data, file=self.output, flush=True)
            else:
                super().write(message)
        except OSError:
            let_output_go()
            self._when_unread()


class GuardedProcess(Process):  # type: ignore[misc]
    """One process of the Procfile, whose whole group ends when it or the starter ends."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """Run the command until its end; called in a process of its own."""
        # A signal to the starter's group (a closed terminal's SIGHUP, say) would end us before what we guard.
        os.setsid()
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
    *unread* tells that the output went to nobody any more, which ends all too.
    """

    def __init__(self, when_started: Callable[[], None]) -> None:
        super().__init__(OwnLines(self._unread))
        self._process_ctor = GuardedProcess
        self._when_started = when_started
        self._asked = False
        self._why = ""
        self.ended: dict[str, int] = {}
        self.unread = False

    def say(self, line: str) -> None:
        """Print a line of the starter's own; from any thread."""
        self.events.put(Message(type="line", data=line, time=self._clock.now(), name=OWN_NAME, colour=None))

    def ask_to_stop(self) -> None:
        """Have the loop end all, as soon as all are started; from any thread, and from a signal's handler."""
        self._asked = True

    def stop_because(self, name: str, returncode: int) -> None:
        """End all because a part that is not in the Procfile ended by itself; from any thread."""
        self.ended.setdefault(name, returncode)
        self.ask_to_stop()

    def terminate(self) -> None:
        """End all, once; what does not end in time is killed.  Only the loop calls this."""
        if self._terminating:
            return
        self.ended |= {name: known["returncode"] for name, known in self._processes.items() if "returncode" in known}
        last_resort = threading.Timer(_STUCK_S, self.kill)
        last_resort.daemon = True
        last_resort.start()
        super().terminate()

    def _start(self) -> None:
        # Instead of honcho's handlers, which print: a signal that comes while a line is printed would fail there.
        on_stop(self._stop_by_signal)
        super()._start()
        self._when_started()

    def _stop_by_signal(self, number: int, _frame: FrameType | None) -> None:
        self._why = f"{signal.Signals(number).name} received\n"
        self.ask_to_stop()

    def _unread(self) -> None:
        self.unread = True
        self.ask_to_stop()

    def _all_started(self) -> bool:
        started: bool = super()._all_started()
        if started and self._asked and not self._terminating:
            if self._why:
                self._system_print(self._why)
            self.terminate()
        return started
