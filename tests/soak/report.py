"""The table of a soak, and bench/results/soak.json."""

from collections.abc import Iterable

from bench.report import Report
from tests.soak.account import Account
from tests.soak.crowd import Crowd
from tests.soak.rig import Ran
from tests.soak.stand import Stand

_NAMED = ("accepted", "delivered", "lost", "duplicates_at_wire", "duplicates_at_handler")
_MORE = ("owed", "out_of_order", "gaps_reported", "refused", "never_accepted", "unpromised", "other_push_id")


def show(ran: Ran, stand: Stand, crowd: Crowd, account: Account, *, name: str, seed: int) -> None:
    """Print what a run came to, and write it."""
    report = Report(name, ratios={one: float(getattr(ran.totals, one)) for one in _NAMED} | {"seed": float(seed)})
    for figure in (*_NAMED, *_MORE):
        report.add("all", figure.replace("_", " "), "messages", getattr(ran.totals, figure))
    for figure, value in zip(("p50", "p99", "longest"), ran.latency_ms, strict=True):
        report.add("all", f"from the 202 to the handler, {figure}", "ms", value)
    report.add("all", "last one after", "s", ran.settled_s)
    for figure, count in (("reconnects", crowd.reconnects), ("reloads", crowd.reloads)):
        report.add("clients", figure, "times", count)
    for figure, count in _sorted(crowd.errors.items()):
        report.add("clients", figure, "times", count)
    for figure, count in _sorted(account.ends.items()):
        report.add("callers", figure, "calls", count)
    for figure, count in _sorted(ran.faults.items()):
        report.add("faults", figure, "times", count)
    for node, proxy in stand.proxies.items():
        for figure, count in _sorted(proxy.met.items()):
            report.add(f"gRPC to {node}", figure, "calls", count)
    for broken in (*ran.broken, *ran.examples):
        print(f"! {broken}")
    report.finish()


def _sorted(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(pairs)
