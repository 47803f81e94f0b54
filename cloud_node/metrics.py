"""What a node counts.  Names follow Prometheus' conventions: base units, ``_total`` for counters."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proto.exposition import exemplar
from proto.message import KeyOutcome, Outcome

_SOON = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)

REGISTRY = CollectorRegistry()

SESSIONS = Gauge("cloudpush_node_sessions", "Sessions on this node.", registry=REGISTRY)
CONNECTS = Counter("cloudpush_node_connects", "Sessions accepted.", registry=REGISTRY)
REFUSED = Counter("cloudpush_node_refused", "Sessions refused, by code.", ["code"], registry=REGISTRY)
DISCONNECTS = Counter("cloudpush_node_disconnects", "Sessions ended, by reason.", ["reason"], registry=REGISTRY)
SLOW = Counter("cloudpush_node_slow_sessions", "Sessions closed because they were too far behind.", registry=REGISTRY)
OUTCOMES = Counter("cloudpush_node_outcomes", "Keys asked for, by outcome.", ["outcome"], registry=REGISTRY)
HANDED = Counter("cloudpush_node_deliveries", "Messages handed to sessions.", registry=REGISTRY)
RPC_SECONDS = Histogram(
    "cloudpush_node_push_seconds",
    "A PushMsg call or a batch, from its arrival to its answer.",
    buckets=_SOON,
    registry=REGISTRY,
)
HUB_WAIT_SECONDS = Histogram(
    "cloudpush_node_hub_wait_seconds",
    "A PushMsg call or a batch, from its check to its turn on the hub.",
    buckets=_SOON,
    registry=REGISTRY,
)
FLUSH_SECONDS = Histogram(
    "cloudpush_node_flush_seconds",
    "Writing to sessions what one run of calls has handed over.",
    buckets=_SOON,
    registry=REGISTRY,
)
PACED = Gauge("cloudpush_node_paced", "Paced broadcasts under way.", registry=REGISTRY)
PACED_ENDS = Counter("cloudpush_node_paced_ends", "Paced broadcasts that are over, by end.", ["end"], registry=REGISTRY)
PACED_UNREACHED = Counter(
    "cloudpush_node_paced_unreached",
    "Sessions that did not get a paced broadcast: it ended first, or they were gone or too slow; by its end.",
    ["end"],
    registry=REGISTRY,
)
STREAMS = Gauge("cloudpush_node_streams", "Batch streams that are open.", registry=REGISTRY)
BRIDGE_WAITING = Gauge("cloudpush_node_bridge_waiting", "Calls that wait for the hub.", registry=REGISTRY)
HUB_LAG_SECONDS = Histogram(
    "cloudpush_node_hub_lag_seconds",
    "How late the hub's clock tick was, four times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
PROBE_AGE_SECONDS = Gauge(
    "cloudpush_node_probe_age_seconds", "Age of the last data-path probe that came back; -1: none.", registry=REGISTRY
)
LEASED = Gauge("cloudpush_node_leased", "1 while this node holds its lease.", registry=REGISTRY)
DRAINING = Gauge("cloudpush_node_draining", "1 while this node is draining.", registry=REGISTRY)

INBOX_PAGES = Counter("cloudpush_node_inbox_pages", "Pages read from inboxes.", registry=REGISTRY)
GAPS = Counter(
    "cloudpush_node_gaps", "Sessions told that they missed messages, by reason.", ["reason"], registry=REGISTRY
)
LEDGER_WAITING = Gauge(
    "cloudpush_node_ledger_waiting", "Notes for receipts and cursors not written yet.", registry=REGISTRY
)
LEDGER_LOST = Counter(
    "cloudpush_node_ledger_lost", "Notes given up: the store was away for too long.", registry=REGISTRY
)

_BY_OUTCOME = {outcome: OUTCOMES.labels(outcome.name.lower()) for outcome in Outcome}


def observe(histogram: Histogram, seconds: float, push_id: str) -> None:
    """Observe, with the push as the example; "": with none."""
    histogram.observe(seconds, exemplar(push_id) if push_id else None)


def count(answers: Iterable[KeyOutcome]) -> None:
    """Count what became of keys: a step of a counter per kind of outcome, not per key."""
    tally: dict[int, int] = {}
    handed = 0
    for it in answers:
        outcome = it.outcome + 0  # hashing a plain int is not a call of Python's
        tally[outcome] = tally.get(outcome, 0) + 1
        handed += it.sessions
    for outcome, number in tally.items():
        _BY_OUTCOME[Outcome(outcome)].inc(number)
    HANDED.inc(handed)
