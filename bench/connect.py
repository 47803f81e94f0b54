"""``make bench-connect``: what sessions cost before the first message, beside other servers on the same core.

Connects a second, memory of an idle session, one broadcast a second to as many sessions as one process may hold, and
sessions that do not read.  Rounds take turns; a round starts each server anew.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.build import NoCompiler, programs
from bench.crowd import Crowd, crowd
from bench.pinned import open_files_limit
from bench.report import Aim, Report
from bench.stand import NODE, OURS, STOCK, CloudPushPeer, Peer, Stand, provide_node

AIMS = {"kib_per_connection": Aim(at_most=20), "connects_vs_stock": Aim(at_least=2)}
FIRST, SOME, MANY = 200, 5_000, 20_000
_SPARE_FILES = 100  # of a server: listeners, store, gRPC, log
_CONNECT_S = 120.0
_SETTLE_S = 2.0
_LATE_S = 10.0
_STALLED, _SESSIONS, _LARGE, _LARGE_COUNT = 100, 1_000, 8192, 800


def memory_figure(sessions: int) -> str:
    """Name the figure."""
    return f"idle session, of {sessions:,}"


@contextmanager
def started(stand: Stand, name: str, capacity: int) -> Iterator[tuple[Peer, Crowd]]:
    """Run a peer and a process for its sessions."""
    with (
        stand.peer(name) as peer,
        crowd(stand.programs, peer.protocol, peer.port, capacity, peer.auth) as sessions,
    ):
        yield peer, sessions


def ready(peer: Peer, sessions: Crowd, count: int) -> float:
    """Wait until all *count* sessions may be pushed to; gives the seconds since the connect, 0.0 if none say so."""
    return sessions.await_ready(count, _CONNECT_S).ready_s if peer.says_ready else 0.0


def connect_round(report: Report, name: str, peer: Peer, sessions: Crowd, most: int) -> None:
    """Connect FIRST, so that what a server makes once is there, then SOME, then up to *most*."""
    sessions.connect(FIRST, _CONNECT_S)
    ready(peer, sessions, FIRST)
    time.sleep(_SETTLE_S)
    empty_kib, cpu_s = peer.rss_kib, peer.cpu_s
    heard = sessions.connect(SOME, _CONNECT_S)
    ready_s = ready(peer, sessions, FIRST + SOME)
    report.add(name, "connects", "sessions/s", SOME / heard.connect_s)
    if ready_s:
        report.add(name, "connects, until ready", "sessions/s", SOME / ready_s)
    report.add(name, "connects: server CPU", "ms each", (peer.cpu_s - cpu_s) * 1000 / SOME)
    time.sleep(_SETTLE_S)
    report.add(name, memory_figure(SOME), "KiB", (peer.rss_kib - empty_kib) / SOME)
    if most > FIRST + SOME:
        sessions.connect(most - FIRST - SOME, _CONNECT_S)
        ready(peer, sessions, most)
        time.sleep(_SETTLE_S)
        report.add(name, memory_figure(most), "KiB", (peer.rss_kib - empty_kib) / (most - FIRST))


def hold(report: Report, peer: Peer, sessions: Crowd, count: int, seconds: int) -> None:
    """Broadcast once a second to *count* sessions for *seconds*."""
    figure = f"{count:,} sessions, 1 broadcast/s"
    sessions.connect(count, _CONNECT_S)
    ready(peer, sessions, count)
    peer.lag()
    sessions.reset()
    cpu_s = peer.cpu_s
    peer.paced(seconds, 1.0)
    heard = sessions.wait(count * seconds, _LATE_S)
    lag = peer.lag()
    report.add(OURS, f"{figure}: missed", "messages", count * seconds - heard.received)
    report.add(OURS, f"{figure}: hub late, p99", "ms", lag["p99_ms"])
    report.add(OURS, f"{figure}: hub late, max", "ms", lag["max_ms"])
    report.add(OURS, f"{figure}: p50", "ms", heard.p50_ms)
    report.add(OURS, f"{figure}: p99", "ms", heard.p99_ms)
    report.add(OURS, f"{figure}: server CPU", "% of a core", 100 * (peer.cpu_s - cpu_s) / seconds)
    if flaw := heard.flaw(count * seconds):
        report.flaw(OURS, figure, flaw)


def stall(report: Report, peer: CloudPushPeer, sessions: Crowd) -> None:
    """Have some sessions read no more while all get large messages."""
    figure = f"{_STALLED} of {_SESSIONS:,} do not read"
    sessions.connect(_SESSIONS, _CONNECT_S)
    ready(peer, sessions, _SESSIONS)
    sessions.stall(_STALLED)
    before_kib = peer.rss_kib
    expected = _LARGE_COUNT * (_SESSIONS - _STALLED)
    peer.large_burst(_LARGE_COUNT, _LARGE)
    heard = sessions.wait(expected, _LATE_S)
    report.add(OURS, f"{figure}: others missed", "messages", expected - heard.received)
    report.add(OURS, f"{figure}: closed", "sessions", peer.counter("cloudpush_node_slow_sessions_total"))
    report.add(OURS, f"{figure}: memory grew by at most", "MiB", (peer.peak_rss_kib - before_kib) / 1024)
    if heard.received != expected:
        report.flaw(OURS, figure, f"{expected - heard.received} missing")


def measure(report: Report, options: argparse.Namespace, home: Path) -> None:
    """Run all rounds, then what only ours is asked for."""
    stand = Stand(home, programs())
    most = min(MANY, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
    print(f"» at most {most:,} sessions, as one process may have so many files open")
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"» {time.monotonic() - began:4.0f} s: {what}", flush=True)

    for number in range(options.rounds):
        for name in options.peers:
            say(f"round {number + 1} of {options.rounds}, {name}")
            with started(stand, name, most) as (peer, sessions):
                connect_round(report, name, peer, sessions, FIRST + SOME if options.quick else most)
    if OURS not in options.peers:
        return
    say(f"{_STALLED} sessions that do not read")
    with started(stand, OURS, _SESSIONS) as (peer, sessions):
        assert isinstance(peer, CloudPushPeer)
        stall(report, peer, sessions)
    if options.hold and not options.quick:
        say(f"{most:,} sessions for {options.hold} s")
        with started(stand, OURS, most) as (peer, sessions):
            hold(report, peer, sessions, most, options.hold)


def add_ratios(report: Report) -> None:
    """Take the worse of the two figures of memory as ours."""
    ours = [figure for peer, figure, _ in report.values if peer == OURS and figure.startswith("idle session")]
    if ours:
        report.ratios["kib_per_connection"] = round(max(report.median(OURS, figure) for figure in ours), 2)
    if report.has(OURS, "connects") and report.has(STOCK, "connects"):
        report.ratios["connects_vs_stock"] = round(
            report.median(OURS, "connects") / report.median(STOCK, "connects"), 3
        )


def main() -> int:
    """Run, print the table, write bench/results/connect.json; 1 when a round failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.connect")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[OURS, STOCK, NODE], help="names, quoted")
    parser.add_argument("--hold", type=int, default=60, help="seconds with as many sessions as there may be; 0: not")
    parser.add_argument("--quick", action="store_true", help=f"{SOME:,} sessions, no long hold")
    options = parser.parse_args()
    open_files_limit()
    report = Report("connect", aims=AIMS)
    try:
        if NODE in options.peers:
            report.versions |= provide_node()
        with tempfile.TemporaryDirectory(prefix="cloudpush-bench-") as home:
            measure(report, options, Path(home))
    except NoCompiler as missing:
        print(missing, file=sys.stderr)
        return 1
    add_ratios(report)
    report.finish()
    return 1 if report.flaws else 0


if __name__ == "__main__":
    sys.exit(main())
