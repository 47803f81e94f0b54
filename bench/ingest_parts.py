"""What bench-ingest asks of cloudpush alone: its worker with a full queue, urgent pushes in a flood, a steady load."""

import time

import kombu

from bench.build import Programs
from bench.ingest_load import load
from bench.ingest_round import BATCH_PATH, LIGHT_CALLERS, LIGHT_PER_S, is_whole
from bench.ingest_stand import OURS, Peer
from bench.report import Report
from proto import queues
from tests.parts.process import until

ALONE, QUIET, FLOODED = "worker alone", "high, quiet", "high, under a bulk flood"
STEADY = "steady"
_LIFE = ',"ttl_s":600'  # what waits for the worker must not expire
_BATCH = 100
_FILL_CALLERS, _SINGLE_CALLERS = 4, 64
_FLOOD_CALLERS, _FLOOD_SESSIONS = 8, 200
_EMPTY_S = 90.0
_START_S = 30.0
_RAMP_S = 1.0
_WARM = 10  # a tenth of what waits is done before the worker is measured
_MINUTE_S = 60.0
_SOME_MINUTES = 3


def depths(broker_url: str) -> dict[str, int]:
    """Give the messages that are ready in each queue of pushes."""
    found = {}
    with kombu.Connection(broker_url, connect_timeout=5) as connection, connection.channel() as channel:
        for priority in queues.Priority:
            found[priority.value] = int(channel.queue_declare(priority.queue, passive=True).message_count)
    return found


def dead_letters(broker_url: str) -> int:
    """Give how many pushes ended as dead letters."""
    with kombu.Connection(broker_url, connect_timeout=5) as connection, connection.channel() as channel:
        return int(channel.queue_declare(queues.DEAD_QUEUE, passive=True).message_count)


def _until_empty(broker_url: str) -> None:
    until(lambda: not any(depths(broker_url).values()), _EMPTY_S, "empty queues")


def worker_alone(report: Report, peer: Peer, fill_s: float, *, batches: bool) -> None:
    """Fill the queue for *fill_s* through REST while there is no worker, then start one.

    What it spends on starting is not counted: it is measured from a tenth of the pushes to the last.
    """
    assert peer.fleet is not None
    _until_empty(peer.broker_url)
    peer.fleet.worker.terminate()
    callers, items, path = (_FILL_CALLERS, _BATCH, BATCH_PATH) if batches else (_SINGLE_CALLERS, 1, peer.path)
    peer.load.callers(callers, peer.web_port, path)
    peer.load.reset()
    offered = peer.load.offer(fill_s, items=items, fields=_LIFE)
    tasks = depths(peer.broker_url)[queues.Priority.NORMAL]
    if offered.refused:
        print(f"  {offered.refused} requests were refused: the queue is as full as logic lets it be", flush=True)
    peer.fleet.worker.start()
    peer.load.wait(1, _START_S)
    first = peer.load.wait_all(offered.accepted // _WARM, _EMPTY_S)
    before = peer.tiers.cpu_s()
    last = peer.load.wait_all(offered.accepted, _EMPTY_S)
    spent = {tier: s - before[tier] for tier, s in peer.tiers.cpu_s().items()}
    peer.fleet.wait_ready()
    if not is_whole(report, OURS, ALONE, offered, last):
        return
    pushes = last.received - first.received
    report.add(OURS, f"{ALONE}: pushes a task", "pushes", offered.accepted / max(1, tasks))
    report.add(OURS, f"{ALONE}: of CPU", "pushes/s a core", pushes / max(spent["worker"], 1e-6))
    report.add(
        OURS,
        f"{ALONE}: two cores, with the node",
        "pushes/s",
        pushes * 1e9 / max(1, last.last_arrival_ns - first.last_arrival_ns),
    )
    for tier, seconds in spent.items():
        report.add(OURS, f"{ALONE}: CPU {tier}", "s/1,000", seconds * 1000 / max(1, pushes))


def flood(report: Report, peer: Peer, programs: Programs, seconds: float, *, batches: bool) -> None:
    """Push `high` at LIGHT_PER_S, first alone, then beside bulk pushes as fast as logic takes them."""
    _high(report, peer, QUIET, seconds)
    with load(programs, peer.node_port, _FLOOD_SESSIONS, prefix="bulk-") as (bulk, _):
        items, path = (_BATCH, BATCH_PATH) if batches else (1, peer.path)
        bulk.callers(_FLOOD_CALLERS if batches else _SINGLE_CALLERS, peer.web_port, path)
        bulk_s = seconds + 2 * _RAMP_S
        bulk.begin_offer(bulk_s, items=items, fields=f'{_LIFE},"priority":"bulk"')
        time.sleep(_RAMP_S)
        _high(report, peer, FLOODED, seconds)
        waiting = depths(peer.broker_url)[queues.Priority.BULK]
        offered = bulk.finish_offer(bulk_s)
        heard = bulk.wait_all(offered.accepted, _EMPTY_S)
    if not is_whole(report, OURS, "the bulk flood", offered, heard):
        return
    report.add(OURS, "the bulk flood: accepted", "pushes/s", offered.accepted / offered.seconds)
    report.add(OURS, "the bulk flood: delivered", "pushes/s", heard.received / heard.seconds)
    report.add(OURS, "the bulk flood: refused as too much", "requests", offered.refused)
    report.add(OURS, "the bulk flood: tasks waiting at its end", "tasks", waiting)


def _high(report: Report, peer: Peer, figure: str, seconds: float) -> None:
    peer.load.callers(LIGHT_CALLERS, peer.web_port, peer.path)
    peer.load.reset()
    offered = peer.load.offer(seconds, per_second=LIGHT_PER_S, fields=',"priority":"high"')
    heard = peer.load.wait_all(offered.accepted, _EMPTY_S)
    if offered.refused:
        report.add(OURS, f"{figure}: refused as too much", "requests", offered.refused)
    if is_whole(report, OURS, figure, offered, heard):
        for what, ms in {"p50": heard.p50_ms, "p99": heard.p99_ms, "max": heard.max_ms}.items():
            report.add(OURS, f"{figure}: REST to socket {what}", "ms", ms)


def steady(report: Report, peer: Peer, seconds: float, per_second: float) -> list[dict[str, float]]:
    """Push at *per_second* for *seconds*; gives a row a minute: times, memory by tier, tasks that wait."""
    peer.load.callers(_SINGLE_CALLERS, peer.web_port, peer.path)
    peer.load.reset()
    rows: list[dict[str, float]] = []
    accepted = received = twice = 0
    while (left_s := seconds - _MINUTE_S * len(rows)) > 0:
        offered = peer.load.offer(min(_MINUTE_S, left_s), per_second=per_second)
        heard = peer.load.lap()
        accepted, twice = accepted + offered.accepted, twice + heard.duplicates
        received += heard.received - heard.duplicates
        row: dict[str, float] = {"minute": len(rows) + 1, "accepted": offered.accepted, "refused": offered.refused}
        row |= {"p50_ms": round(heard.p50_ms, 2), "p99_ms": round(heard.p99_ms, 2), "max_ms": round(heard.max_ms, 1)}
        row |= {"rest_p50_ms": round(offered.p50_ms, 2), "rest_p99_ms": round(offered.p99_ms, 2)}
        row |= {f"rss_{tier}_mib": round(mib, 1) for tier, mib in peer.tiers.rss_mib().items()}
        row |= {f"waiting_{name}": count for name, count in depths(peer.broker_url).items() if count}
        rows.append(row)
        print(f"  {row}", flush=True)
        if offered.flaw:
            report.flaw(OURS, STEADY, offered.flaw)
    heard = peer.load.wait_all(accepted - received, _EMPTY_S)
    lost, twice = accepted - received - heard.received + heard.duplicates, twice + heard.duplicates
    if lost or twice:
        report.flaw(OURS, STEADY, f"{lost} lost, {twice} duplicates")
    report.add(OURS, f"{STEADY}: tasks left in queues", "tasks", sum(depths(peer.broker_url).values()))
    _add_steady(report, rows, per_second)
    return rows


def _add_steady(report: Report, rows: list[dict[str, float]], per_second: float) -> None:
    report.add(OURS, f"{STEADY}: offered", "pushes/s", per_second)
    for row in rows:
        report.add(OURS, f"{STEADY}: REST to socket p50", "ms", row["p50_ms"])
        report.add(OURS, f"{STEADY}: REST to socket p99", "ms", row["p99_ms"])
        for name in row:
            if name.startswith("rss_"):
                report.add(OURS, f"{STEADY}: memory {name.split('_')[1]}", "MiB", row[name])
    if len(rows) < _SOME_MINUTES:
        return
    first, last = rows[1], rows[-1]  # not the first minute, in which things are made
    tiers = [name for name in first if name.startswith("rss_") and name != "rss_load_mib"]
    report.ratios["steady_memory_last_vs_second_minute"] = round(
        sum(last[name] for name in tiers) / sum(first[name] for name in tiers), 3
    )
    report.ratios["steady_p99_last_vs_second_minute"] = round(last["p99_ms"] / max(first["p99_ms"], 0.01), 3)
