"""bench/ingest*.py: what becomes of a run's figures, and what its ratios are called."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.crowd import Heard
from bench.ingest import AIMS, add_ratios
from bench.ingest_load import Offered
from bench.ingest_parts import ALONE, FLOODED, QUIET
from bench.ingest_round import LIGHT, is_whole
from bench.ingest_stand import EMITTER, NOOP, OURS, PLAIN
from bench.report import Report
from bench.tiers import Tiers
from tests.parts.process import Child

_WAIT_S = 10.0
OFFERED = Offered("offer", True, 10, 10, 0, 0, 0, 0, 1.0, 2.0, 3.0, 0.1, 0, 1, 0.0)
HEARD = Heard("wait", True, 5, 5, 0, 1.0, 1.0, 10, 100, 0, 0, 0, 2, 2, 1.0, 2.0, 3.0, 0, 1, 0.0)


def test_a_run_in_which_all_arrived_counts() -> None:
    report = Report("ingest")
    assert is_whole(report, OURS, "it", OFFERED, HEARD)
    assert report.flaws == []


@pytest.mark.parametrize(
    ("offered", "heard", "flaw"),
    [
        (OFFERED, replace(HEARD, received=9), "1 lost"),
        (OFFERED, replace(HEARD, duplicates=1), "1 lost, 1 duplicates"),
        (OFFERED, replace(HEARD, received=11, duplicates=1), "1 duplicates"),
        (replace(OFFERED, failed=2), HEARD, "2 failed"),
        (replace(OFFERED, broken=1), HEARD, "1 broken"),
        (replace(OFFERED, accepted=0), replace(HEARD, received=0), "nothing was accepted"),
    ],
)
def test_a_run_that_lost_or_doubled_or_failed_does_not_count(offered: Offered, heard: Heard, flaw: str) -> None:
    report = Report("ingest")
    assert not is_whole(report, OURS, "it", offered, heard)
    assert report.flaws == [f"{OURS}, it: {flaw}"]


def test_a_deaf_emitter_is_a_figure_and_no_fault_of_the_bench() -> None:
    report = Report("ingest")
    assert not is_whole(report, EMITTER, "it", OFFERED, replace(HEARD, received=4))
    assert report.flaws == []
    assert report.median(EMITTER, "it: lost, run not counted") == 6


def test_ratios_have_the_names_that_aims_are_set_for() -> None:
    report = Report("ingest")
    for peer, figure, value in (
        (OURS, "64 connections: delivered", 40.0),
        (PLAIN, "64 connections: delivered", 10.0),
        (OURS, "64 connections: CPU of all tiers", 3.0),
        (OURS, "64 connections: CPU with broker, store", 4.0),
        (NOOP, "64 connections: CPU of all tiers", 2.0),
        (OURS, "batches of 100: delivered", 150.0),
        (OURS, "batches of 1,000: delivered", 160.0),
        *(
            (peer, f"{LIGHT}: REST to socket {p}", at)
            for peer, at in ((OURS, 3.0), (PLAIN, 4.0))
            for p in ("p50", "p99")
        ),
        (EMITTER, f"{LIGHT}: REST to socket p50", 2.0),
        (OURS, f"{QUIET}: REST to socket p99", 5.0),
        (OURS, f"{FLOODED}: REST to socket p99", 10.0),
        (OURS, f"{ALONE}: of CPU", 21_000.0),
    ):
        report.add(peer, figure, "", value)
    add_ratios(report)
    assert report.ratios.pop("cpu_with_broker_and_store_vs_noop_route") == 2
    assert report.ratios == {
        "single_vs_plain": 4,
        "cpu_vs_noop_route": 1.5,
        "batch_vs_plain": 16,
        "p50_vs_plain": 0.75,
        "p99_vs_plain": 0.75,
        "p50_vs_redis_manager": 1.5,
        "worker_pushes_per_s": 21_000,
        "high_p99_under_flood_vs_quiet": 2,
    }
    assert set(report.ratios) == set(AIMS)
    assert all(aim.met(report.ratios[name]) for name, aim in AIMS.items())


def test_ratios_leave_out_what_no_run_gave() -> None:
    report = Report("ingest")
    report.add(OURS, "64 connections: delivered", "", 40.0)
    add_ratios(report)
    assert report.ratios == {}


def test_a_tier_is_its_process_and_that_ones_children(tmp_path: Path) -> None:
    spin = "sum(i for i in range(3_000_000))"
    program = f"import os; os.fork(); {spin}; open('done%d' % os.getpid(), 'w'); import signal; signal.pause()"
    child = Child("two", [sys.executable, "-c", program], log=tmp_path / "log", env=dict(os.environ), cwd=tmp_path)
    child.start()
    try:
        tiers = Tiers({"two": child})
        child.until(lambda: len(list(tmp_path.glob("done*"))) == 2, _WAIT_S, "both processes")
        assert tiers.cpu_s()["two"] > 1.5 * time.clock_gettime(~child.pid << 3 | 2)
        assert tiers.rss_mib()["two"] > 2
    finally:
        child.kill()
