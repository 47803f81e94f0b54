"""Carries faults out on what runs, as context managers: repaired at the end of the block, whatever it raises.

A process that does not come back raises NotInTime.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.parts.gate import Gate
from tests.parts.grpc_proxy import Weather
from tests.parts.process import Child
from tests.soak.crowd import Crowd
from tests.soak.schedule import Fault
from tests.soak.stand import Part, Stand

_WEATHERS: Mapping[str, Weather] = {
    "grpc-drop": Weather(drop=0.2),
    "grpc-delay": Weather(delay=0.5),
    "grpc-duplicate": Weather(duplicate=0.5),
    "grpc-lose-reply": Weather(lose_reply=0.3),
}
_LOST_ACKS = 0.7
_BURST = 0.5
_BURST_EVERY_S = 0.7


def injected(fault: Fault, stand: Stand, crowd: Crowd, over: threading.Event) -> AbstractContextManager[None]:
    """Give the fault as a block; *over* ends what goes on by itself within it."""
    if fault.kind in _WEATHERS:
        return stand.proxies[fault.target].weather(_WEATHERS[fault.kind])
    makers: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
        "kill": lambda: _killed(stand.parts[fault.target]),
        "freeze": lambda: _frozen(stand.parts[fault.target].child),
        "cut-workers": lambda: _cut(stand.worker_gates[fault.target]),
        "cut-redis": lambda: _cut(stand.store_gates[fault.target]),
        "clock-ahead": lambda: _jumped(stand.clocks[fault.target], 3_600),
        "clock-back": lambda: _jumped(stand.clocks[fault.target], -3_600),
        "lose-acks": lambda: _losing_acks(crowd),
        "reconnects": lambda: _bursts(crowd, "reconnect", over),
        "reloads": lambda: _bursts(crowd, "reload", over),
    }
    return makers[fault.kind]()


@contextmanager
def _killed(part: Part) -> Iterator[None]:
    part.child.kill()
    try:
        yield
    finally:
        part.start()


@contextmanager
def _frozen(child: Child) -> Iterator[None]:
    child.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        child.signal(signal.SIGCONT)


@contextmanager
def _cut(gate: Gate) -> Iterator[None]:
    with gate.cut():
        yield


@contextmanager
def _jumped(clock: Path, by_s: int) -> Iterator[None]:
    clock.write_text(str(by_s), encoding="ascii")
    try:
        yield
    finally:
        clock.write_text("0", encoding="ascii")


@contextmanager
def _losing_acks(crowd: Crowd) -> Iterator[None]:
    crowd.order("lose_acks", share=_LOST_ACKS)
    try:
        yield
    finally:
        crowd.order("lose_acks", share=0)


@contextmanager
def _bursts(crowd: Crowd, what: str, over: threading.Event) -> Iterator[None]:
    def go_on() -> None:
        while True:
            crowd.order(what, share=_BURST)
            if over.wait(_BURST_EVERY_S):
                return

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Injector:
    """Carries a schedule out; at most one fault at a time at each target, however long its repair takes.

    Threads: one for each fault under way.
    """

    def __init__(self, stand: Stand, crowd: Crowd) -> None:
        self._stand, self._crowd = stand, crowd
        self._turns = {target: threading.Lock() for target in (*stand.parts, "clients")}
        self._threads: list[threading.Thread] = []
        self.begun: list[Fault] = []
        self.broken: list[str] = []

    def begin(self, fault: Fault) -> None:
        """Begin a fault that ends by itself."""
        thread = threading.Thread(target=self._carry_out, args=(fault,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until every fault is over and repaired."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self.broken.append("a fault was not repaired in time")

    def _carry_out(self, fault: Fault) -> None:
        over = threading.Event()
        try:
            with self._turns[fault.target], injected(fault, self._stand, self._crowd, over):
                self.begun.append(fault)
                over.wait(fault.lasts_s)
        except Exception as broken:  # noqa: BLE001 - a soak says what broke, and goes on to count
            self.broken.append(f"{fault}: {broken!r}")
