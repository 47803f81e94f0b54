"""One round of ``make bench-fanout``: every figure of one server that has just been started.

Refuses to give a figure of a run in which a message was missing, doubled or out of order: it says so instead.
"""

import time
from collections.abc import Callable

from bench.crowd import Crowd, Heard
from bench.pinned import busy_s, server_core
from bench.report import Report
from bench.stand import LOOP, NATS, OURS, CloudPushPeer, Peer, run
from bench.sweep import Level, levels

SESSIONS = 1_000
BURST, IN_TURNS, PACED, EVERY_S, UNICAST = 200, 50, 30, 0.1, 20_000
GRPC_MESSAGES, GRPC_BATCH = 100_000, 100
AT_ONCE, TURNS, GRPC = "burst, at once", "burst, in turns", "gRPC, 1 key a message"
KEEPS_UP_TO = 1_000_000  # deliveries a second at which ours falling behind is a failure
_FIRST_LEVEL = {NATS: 100_000}
_WAIT_S = 60.0


def offered(rate: int) -> str:
    """Name a level of the sweep."""
    return f"offered {rate:,}/s"


class Round:
    """All figures of one peer that has just been started."""

    def __init__(self, report: Report, name: str, peer: Peer, sessions: Crowd) -> None:
        self._report = report
        self._name = name
        self._peer = peer
        self._crowd = sessions

    def run(self) -> list[Level]:
        """Take every figure; gives the sweep, [] for a peer that has none."""
        began, before_s, cpu_s = time.monotonic(), busy_s(server_core()), self._peer.cpu_s
        found = self._figures()
        others_s = busy_s(server_core()) - before_s - (self._peer.cpu_s - cpu_s)
        self._report.add(self._name, "server's core: used by others", "%", 100 * others_s / (time.monotonic() - began))
        return found

    def _figures(self) -> list[Level]:
        self._crowd.connect(SESSIONS, _WAIT_S)
        if self._peer.says_ready:
            self._crowd.await_ready(SESSIONS, _WAIT_S)
        self._peer.burst(IN_TURNS, at_once=False)  # a runtime may compile what it sees often
        self._crowd.wait(IN_TURNS * SESSIONS, _WAIT_S)
        self._throughput(AT_ONCE, BURST * SESSIONS, lambda: self._peer.burst(BURST, at_once=True))
        if self._peer.has_turns:
            self._throughput(TURNS, IN_TURNS * SESSIONS, lambda: self._peer.burst(IN_TURNS, at_once=False))
        self._paced()
        self._throughput("unicast", UNICAST, lambda: self._peer.unicast(UNICAST, SESSIONS))
        if isinstance(self._peer, CloudPushPeer):
            self._through_grpc(self._peer)
        return [] if self._name == LOOP else self._sweep()

    def _measure(self, figure: str, expected: int, act: Callable[[], object]) -> tuple[Heard, float] | None:
        """Have *act* send *expected* messages; gives what was heard, and the server's CPU seconds per 100,000."""
        self._crowd.reset()
        before_s = self._peer.cpu_s
        act()
        heard = self._crowd.wait(expected, _WAIT_S)
        cpu_s = (self._peer.cpu_s - before_s) * 1e5 / max(1, heard.received)
        if flaw := heard.flaw(expected):
            self._report.flaw(self._name, figure, flaw)
            return None
        return heard, cpu_s

    def _throughput(self, figure: str, expected: int, act: Callable[[], object]) -> None:
        if (measured := self._measure(figure, expected, act)) is not None:
            heard, cpu_s = measured
            self._report.add(self._name, figure, "deliveries/s", expected / heard.seconds)
            self._report.add(self._name, f"{figure}: server CPU", "s/100k", cpu_s)
            self._report.add(self._name, f"{figure}: client's core", "%", 100 * heard.cpu_s / heard.seconds)

    def _paced(self) -> None:
        expected = PACED * SESSIONS
        if (measured := self._measure("paced", expected, lambda: self._peer.paced(PACED, EVERY_S))) is not None:
            heard, cpu_s = measured
            self._report.add(self._name, "paced p50", "ms", heard.p50_ms)
            self._report.add(self._name, "paced p99", "ms", heard.p99_ms)
            self._report.add(self._name, "paced: server CPU", "s/100k", cpu_s)

    def _through_grpc(self, peer: CloudPushPeer) -> None:
        told: dict[str, float] = {}
        command = peer.grpc("single", GRPC_MESSAGES, SESSIONS, GRPC_BATCH)
        measured = self._measure(GRPC, GRPC_MESSAGES, lambda: told.update(run(command)))
        if told["delivered"] != GRPC_MESSAGES:
            self._report.flaw(self._name, GRPC, f"{told['delivered']} of {GRPC_MESSAGES} answered as delivered")
        elif measured is not None:
            seconds = (told["ended_ns"] - told["began_ns"]) / 1e9
            self._report.add(self._name, GRPC, "messages/s", GRPC_MESSAGES / seconds)
            self._report.add(self._name, f"{GRPC}: server CPU", "s/100k", measured[1])

    def _sweep(self) -> list[Level]:
        if self._peer.has_turns:
            self._peer.lag()
        found = levels(self._peer, self._crowd, SESSIONS, _FIRST_LEVEL.get(self._name, 0))
        for level in found:
            figure = offered(level.offered)
            self._report.add(self._name, f"{figure}: delivered", "deliveries/s", level.delivered)
            self._report.add(self._name, f"{figure}: p99", "ms", level.heard.p99_ms)
            self._report.add(self._name, f"{figure}: server CPU", "s/100k", level.cpu_s)
            if level.behind and not (self._name == OURS and level.offered <= KEEPS_UP_TO):
                print(
                    f"  {self._name} falls behind at {level.offered:,} deliveries/s: {level.delivered:,.0f} delivered"
                )
            elif level.behind or level.flaw:
                self._report.flaw(self._name, figure, level.flaw or "late")
        if self._peer.has_turns:
            self._report.add(self._name, "sweep: event loop late, p99", "ms", self._peer.lag()["p99_ms"])
        return found
