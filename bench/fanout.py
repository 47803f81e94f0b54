"""``make bench-fanout``: what a node delivers a second, and how late, beside other servers on the same core.

1,000 sessions, frames of 128 bytes.  A round starts each server anew, one after the other; medians over the rounds.
Each peer's burst counts in whichever of two ways is faster for it: handed over at once, or with a turn of its event
loop after each message.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.build import NoCompiler, programs
from bench.crowd import crowd
from bench.fanout_round import AT_ONCE, GRPC, SESSIONS, TURNS, Round, offered
from bench.peers import nats
from bench.picture import Line, draw
from bench.pinned import open_files_limit
from bench.report import Aim, Report
from bench.stand import LOOP, NATS, NODE, OURS, STOCK, Stand, provide_node
from bench.sweep import LEVELS, Level

AIMS = {
    "burst_vs_node": Aim(at_least=15),
    "burst_vs_stock": Aim(at_least=50),
    "burst_vs_nats": Aim(at_least=0.8),
    "paced_cpu_vs_pyloop": Aim(at_most=1.25),
    "paced_p99_vs_node": Aim(at_most=1),
    "unicast_vs_node": Aim(at_least=1.5),
    "unicast_vs_stock": Aim(at_least=4),
    "grpc_messages_per_s": Aim(at_least=30_000),
    "p99_1m_vs_100k": Aim(at_most=3),
}
Sweeps = dict[str, list[Level]]


def add_ratios(report: Report) -> None:
    """Divide medians; what a peer or a failed round did not give leaves its ratios out."""

    def figure(peer: str, name: str) -> float:
        return report.median(peer, name) if report.has(peer, name) else 0.0

    def burst(peer: str) -> float:
        return max(figure(peer, AT_ONCE), figure(peer, TURNS))

    def ratio(name: str, over: float, under: float) -> None:
        if over and under:
            report.ratios[name] = round(over / under, 3)

    for name, peer in (("node", NODE), ("stock", STOCK), ("nats", NATS)):
        ratio(f"burst_vs_{name}", burst(OURS), burst(peer))
    ratio("paced_cpu_vs_pyloop", figure(OURS, "paced: server CPU"), figure(LOOP, "paced: server CPU"))
    ratio("paced_p99_vs_node", figure(OURS, "paced p99"), figure(NODE, "paced p99"))
    for name, peer in (("node", NODE), ("stock", STOCK)):
        ratio(f"unicast_vs_{name}", figure(OURS, "unicast"), figure(peer, "unicast"))
    ratio("grpc_messages_per_s", figure(OURS, GRPC), 1)
    ratio("p99_1m_vs_100k", figure(OURS, f"{offered(1_000_000)}: p99"), figure(OURS, f"{offered(100_000)}: p99"))


def lines(report: Report, sweeps: Sweeps) -> list[Line]:
    """Give the picture's lines: p99 over what was offered, up to the level at which most rounds fell behind."""
    found = []
    for peer, taken in sweeps.items():
        points, end = [], None
        for rate in LEVELS:
            rounds = [level for level in taken if level.offered == rate]
            if rounds and sum(level.behind for level in rounds) * 2 > len(rounds):
                end = rate
                break
            if rounds:
                points.append((float(rate), report.median(peer, f"{offered(rate)}: p99")))
        if points:
            found.append(Line(peer, points, end))
    return found


def measure(report: Report, peers: list[str], rounds: int, home: Path) -> Sweeps:
    """Run all rounds."""
    stand = Stand(home, programs())
    sweeps: Sweeps = {peer: [] for peer in peers if peer != LOOP}
    began = time.monotonic()
    for number in range(rounds):
        for name in peers:
            print(f"» {time.monotonic() - began:4.0f} s: round {number + 1} of {rounds}, {name}", flush=True)
            with (
                stand.peer(name) as peer,
                crowd(stand.programs, peer.protocol, peer.port, SESSIONS, peer.auth) as sessions,
            ):
                found = Round(report, name, peer, sessions).run()
            if name in sweeps:
                sweeps[name].extend(found)
    return sweeps


def main() -> int:
    """Run, print the table, write bench/results/fanout.json; 1 when a round failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[OURS, STOCK, NODE, LOOP, NATS], help="names, quoted")
    parser.add_argument("--picture", type=Path, help="also draw the sweep, as SVG")
    options = parser.parse_args()
    open_files_limit()
    report = Report("fanout", aims=AIMS)
    try:
        if NODE in options.peers:
            report.versions |= provide_node()
        if NATS in options.peers and (version := nats.provide()):
            report.versions["nats-server"] = version
        peers = [name for name in options.peers if name != NATS or "nats-server" in report.versions]
        with tempfile.TemporaryDirectory(prefix="cloudpush-bench-") as home:
            sweeps = measure(report, peers, options.rounds, Path(home))
    except NoCompiler as missing:
        print(missing, file=sys.stderr)
        return 1
    add_ratios(report)
    report.finish()
    if options.picture:
        draw(options.picture, lines(report, sweeps))
    return 1 if report.flaws else 0


if __name__ == "__main__":
    sys.exit(main())
