"""``make bench-ingest``: from a REST call to a websocket, beside a plain Celery pipeline, in one run on two cores.

Peers start once and take turns: cloudpush; the plain pipeline (Flask, a confirmed Celery task a push, prefork, one
unary gRPC call, stock python-socketio); python-socketio's RedisManager, which promises nothing; a Flask route that only
parses and answers.  One compiled process a peer pushes and listens.  QUICK=1 is a short try; STEADY_S=600 adds a steady
run.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import ingest_parts as parts
from bench.build import NoCompiler, programs
from bench.ingest_round import LIGHT, closed, has_batches, light, name_of, warm_up
from bench.ingest_stand import EMITTER, NOOP, OURS, PLAIN, SESSIONS, Peer, peer, services
from bench.pinned import open_files_limit
from bench.report import Aim, Report

AIMS = {
    "single_vs_plain": Aim(at_least=4),
    "cpu_vs_noop_route": Aim(at_most=2),
    "batch_vs_plain": Aim(at_least=15),
    "p50_vs_plain": Aim(at_most=1),
    "p99_vs_plain": Aim(at_most=1),
    "p50_vs_redis_manager": Aim(at_most=1.5),
    "worker_pushes_per_s": Aim(at_least=20_000),
    "high_p99_under_flood_vs_quiet": Aim(at_most=3),
}
CALLERS = (1, 16, 64)
MOST = CALLERS[-1]
BATCHES = {100: 4, 1_000: 2}  # items → connections
STEADY_SHARE = 0.7
PARTS = ("rounds", "worker", "flood")
# Other hardware, other load programs, an answer counted and not a delivery: context, not a comparison.
CONTEXT = {
    "im-cloud, accepted requests/s (ab -c 500 -n 5000, 4 cores in a VM)": 6082,
    "goim, accepted requests/s (ab -c 500 -n 5000, the same VM)": 5540,
    "goim, received messages/s (1,000,000 online, 40 room broadcasts/s, 20-23 cores)": 35_900_000,
}
SOURCES = (
    "github.com/brewlin/im-cloud: docs/im-cloud分布式中间件-并发压测对比.md",
    "github.com/Terry-Mao/goim: docs/benchmark_en.md",
)


@dataclass(frozen=True)
class Lengths:
    """How long each run takes, in seconds."""

    warm_up: float = 1.0
    closed: float = 3.0
    light: float = 8.0
    fill: float = 10.0
    flood: float = 8.0


QUICK = Lengths(warm_up=0.5, closed=1.0, light=2.0, fill=2.0, flood=2.0)


class Bench:
    """One run of the bench; its parts share the started peers."""

    def __init__(self, report: Report, options: argparse.Namespace) -> None:
        self._report = report
        self._options = options
        self._lengths = QUICK if options.quick else Lengths()
        self._programs = programs()
        self._began = time.monotonic()
        self._peers: dict[str, Peer] = {}
        self.steady: list[dict[str, float]] = []
        self._batches = False

    def run(self, home: Path) -> None:
        """Start all, measure all."""
        with ExitStack() as stack:
            self._say("starting RabbitMQ, Redis and the peers")
            shared = stack.enter_context(services(home))
            for name in self._options.peers:
                self._peers[name] = stack.enter_context(peer(name, home, shared, self._programs))
            for it in self._peers.values():
                warm_up(it, self._lengths.warm_up)
            if OURS in self._peers:
                self._batches = has_batches(self._peers[OURS])
                if not self._batches:
                    self._say("cloudpush has no batch endpoint: not there, so without its figures")
            for number in range(self._options.rounds):
                if "rounds" in self._options.parts:
                    self._round(number)
            if OURS in self._peers:
                self._own(self._peers[OURS])

    def _round(self, number: int) -> None:
        its = self._lengths
        for name, it in self._peers.items():
            self._say(f"round {number + 1} of {self._options.rounds}, {name}")
            for callers in CALLERS if name in (OURS, PLAIN) else (MOST,):
                closed(self._report, it, its.closed, callers)
            if name == OURS and self._batches:
                for items, callers in BATCHES.items():
                    closed(self._report, it, its.closed, callers, items)
            if it.node_port:
                light(self._report, it, its.light)

    def _own(self, ours: Peer) -> None:
        rounds, wanted, its = self._options.rounds, self._options.parts, self._lengths
        for number in range(rounds):
            if "worker" in wanted:
                self._say(f"round {number + 1} of {rounds}, worker alone")
                parts.worker_alone(self._report, ours, its.fill, batches=self._batches)
            if "flood" in wanted:
                self._say(f"round {number + 1} of {rounds}, urgent pushes in a flood of bulk")
                parts.flood(self._report, ours, self._programs, its.flood, batches=self._batches)
        capacity = f"{name_of(MOST)}: delivered"
        if self._options.steady and self._report.has(OURS, capacity):
            per_second = STEADY_SHARE * self._report.median(OURS, capacity)
            self._say(f"{self._options.steady} s at {per_second:.0f} pushes/s, {STEADY_SHARE:.0%} of capacity")
            self.steady = parts.steady(self._report, ours, self._options.steady, per_second)
        if dead := parts.dead_letters(ours.broker_url):
            self._report.flaw(OURS, "all of it", f"{dead} dead letters")

    def _say(self, what: str) -> None:
        print(f"» {time.monotonic() - self._began:4.0f} s: {what}", flush=True)


def add_ratios(report: Report) -> None:
    """Compute what can be from the rounds that succeeded."""
    delivered, cpu = f"{name_of(MOST)}: delivered", f"{name_of(MOST)}: CPU of all tiers"
    p50, p99 = (f"{LIGHT}: REST to socket {percent}" for percent in ("p50", "p99"))
    high = "REST to socket p99"
    wanted = {
        "single_vs_plain": ((OURS, delivered), (PLAIN, delivered)),
        "cpu_vs_noop_route": ((OURS, cpu), (NOOP, cpu)),
        "p50_vs_plain": ((OURS, p50), (PLAIN, p50)),
        "p99_vs_plain": ((OURS, p99), (PLAIN, p99)),
        "p50_vs_redis_manager": ((OURS, p50), (EMITTER, p50)),
        "high_p99_under_flood_vs_quiet": ((OURS, f"{parts.FLOODED}: {high}"), (OURS, f"{parts.QUIET}: {high}")),
        "cpu_with_broker_and_store_vs_noop_route": (
            (OURS, f"{name_of(MOST)}: CPU with broker, store"),
            (NOOP, cpu),
        ),
    }
    best = [f"{name_of(0, items)}: delivered" for items in BATCHES]
    best = sorted((figure for figure in best if report.has(OURS, figure)), key=lambda it: report.median(OURS, it))
    if best:
        wanted["batch_vs_plain"] = ((OURS, best[-1]), (PLAIN, delivered))
    for name, (one, other) in wanted.items():
        if report.has(*one) and report.has(*other):
            report.ratios[name] = round(report.median(*one) / report.median(*other), 3)
    if report.has(OURS, worker := f"{parts.ALONE}: of CPU"):
        report.ratios["worker_pushes_per_s"] = round(report.median(OURS, worker))


def share_two_cores() -> None:
    """Keep this process, and so all that it starts, on two cores."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, set(cores))
    print(
        f"» cores {cores}, shared by every process of a peer, what it stands on and the load; nothing is pinned to one"
    )
    print(f"» {SESSIONS:,} sessions a peer, one node each; single pushes go to each session's key in turn")


def main() -> int:
    """Run, print the table, write bench/results/ingest.json; 1 when a run failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[OURS, PLAIN, EMITTER, NOOP], help="names, quoted")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="worker and flood: cloudpush alone")
    parser.add_argument("--steady", type=float, default=0, help="seconds of a steady run at 70 %% of capacity; 0: none")
    parser.add_argument("--quick", action="store_true", help="one short round: a try, not a measurement")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended
    share_two_cores()
    open_files_limit()
    report = Report("ingest", aims=AIMS)
    try:
        bench = Bench(report, options)
    except NoCompiler as missing:
        print(missing, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="cloudpush-bench-") as home:
        bench.run(Path(home))
    add_ratios(report)
    report.finish(steady=bench.steady, context=CONTEXT, sources=SOURCES)
    print("published by others, as context only:")
    for what, figure in CONTEXT.items():
        print(f"  {figure:>12,}  {what}")
    return 1 if report.flaws else 0


if __name__ == "__main__":
    sys.exit(main())
