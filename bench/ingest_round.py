"""The figures of one peer in one round of bench-ingest: as fast as it answers, in batches, and at light load.

A run whose pushes did not all arrive gives no figures but how many were lost: a deaf node would look fast.
"""

from collections.abc import Mapping

import requests

from bench.crowd import Heard
from bench.ingest_load import Offered
from bench.ingest_stand import EMITTER, Peer
from bench.report import Report

LIGHT_PER_S = 50
LIGHT_CALLERS = 8
_ARRIVE_S = 30.0
_CALL_S = 5.0
BATCH_PATH = "/v1/pushes:batch"
_ABSENT = (404, 405)


def name_of(callers: int, items: int = 1) -> str:
    """Name a run that goes as fast as it is answered."""
    return f"{callers} connections" if items == 1 else f"batches of {items:,}"


LIGHT = f"{LIGHT_PER_S}/s"


def has_batches(peer: Peer) -> bool:
    """Whether it takes batches; an empty one is refused, so that nothing is left behind."""
    url = f"http://127.0.0.1:{peer.web_port}{BATCH_PATH}"
    return requests.post(url, json={"pushes": []}, timeout=_CALL_S).status_code not in _ABSENT


def warm_up(peer: Peer, seconds: float) -> None:
    """Open what a peer opens late, uncounted."""
    peer.load.callers(LIGHT_CALLERS, peer.web_port, peer.path)
    peer.load.reset()
    offered = peer.load.offer(seconds)
    if peer.node_port:
        peer.load.wait_all(offered.accepted, _ARRIVE_S)


def closed(report: Report, peer: Peer, seconds: float, callers: int, items: int = 1) -> None:
    """Push from *callers* connections, each as soon as it has its answer; *items* of a batch if more than one."""
    peer.load.callers(callers, peer.web_port, peer.path if items == 1 else BATCH_PATH)
    run = _run(report, peer, name_of(callers, items), seconds, items=items)
    if run is None:
        return
    offered, heard = run
    figure = name_of(callers, items)
    report.add(peer.name, f"{figure}: accepted", "pushes/s", offered.accepted / offered.seconds)
    if heard is not None:
        report.add(peer.name, f"{figure}: delivered", "pushes/s", heard.received / heard.seconds)
    if offered.refused:
        report.add(peer.name, f"{figure}: refused as too much", "requests", offered.refused)


def light(report: Report, peer: Peer, seconds: float) -> None:
    """Push LIGHT_PER_S times a second."""
    peer.load.callers(LIGHT_CALLERS, peer.web_port, peer.path)
    _run(report, peer, LIGHT, seconds, per_second=LIGHT_PER_S)


def _run(
    report: Report, peer: Peer, figure: str, seconds: float, *, items: int = 1, per_second: float = 0
) -> tuple[Offered, Heard | None] | None:
    peer.load.reset()
    before = peer.tiers.cpu_s()
    offered = peer.load.offer(seconds, items=items, per_second=per_second)
    heard = peer.load.wait_all(offered.accepted, _ARRIVE_S) if peer.node_port else None
    spent = {tier: s - before[tier] for tier, s in peer.tiers.cpu_s().items()}
    if not is_whole(report, peer.name, figure, offered, heard):
        print(peer.tail(), flush=True)
        return None
    times: list[tuple[str, Offered | Heard]] = [("REST", offered)]
    if heard is not None:
        times.append(("REST to socket", heard))
    for what, measured in times:
        report.add(peer.name, f"{figure}: {what} p50", "ms", measured.p50_ms)
        report.add(peer.name, f"{figure}: {what} p99", "ms", measured.p99_ms)
    add_cpu(report, peer, figure, spent, offered.accepted)
    return offered, heard


def is_whole(report: Report, name: str, figure: str, offered: Offered, heard: Heard | None) -> bool:
    """Whether every push was answered and arrived once; says what was not.

    The emitter promises nothing, so what it loses is a figure of its own, and no fault of the bench.
    """
    lost = offered.accepted - heard.received + heard.duplicates if heard is not None else 0
    wrong = {"lost": max(0, lost), "duplicates": heard.duplicates if heard is not None else 0}
    words = [f"{count} {what}" for what, count in wrong.items() if count]
    flaw = ", ".join([*words, *([offered.flaw] if offered.flaw else [])])
    if not offered.accepted:
        flaw = "nothing was accepted"
    if not flaw:
        return True
    if name == EMITTER:
        report.add(name, f"{figure}: lost, run not counted", "pushes", wrong["lost"])
        print(f"  {name}, {figure}: {flaw}: not counted", flush=True)
    else:
        report.flaw(name, figure, flaw)
    return False


def add_cpu(report: Report, peer: Peer, figure: str, spent: Mapping[str, float], pushes: int) -> None:
    """Add CPU seconds a thousand pushes, which are milliseconds a push: by tier, and of the peer's own tiers."""
    for tier, seconds in spent.items():
        report.add(peer.name, f"{figure}: CPU {tier}", "s/1,000", seconds * 1000 / pushes)
    own = sum(spent[tier] for tier in peer.own)
    under = sum(spent.get(tier, 0.0) for tier in ("broker", "store"))
    report.add(peer.name, f"{figure}: CPU of all tiers", "s/1,000", own * 1000 / pushes)
    report.add(peer.name, f"{figure}: CPU with broker, store", "s/1,000", (own + under) * 1000 / pushes)
