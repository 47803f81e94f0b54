"""What a worker counts.  Names follow Prometheus' conventions: base units, ``_total`` for counters."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

FATES = Counter("cloudpush_push_fates", "Keys of pushes that ended, by fate.", ["fate"], registry=REGISTRY)
SESSIONS = Counter("cloudpush_push_sessions", "Hand-overs to sessions, as nodes report them.", registry=REGISTRY)
SUPERSEDED = Counter(
    "cloudpush_push_superseded", "Tasks that ended since another of the same request went before.", registry=REGISTRY
)
RETRIES = Counter("cloudpush_push_retries", "Pushes put back for a later attempt.", registry=REGISTRY)
DEAD_LETTERS = Counter("cloudpush_dead_letters", "Pushes given up, by reason.", ["reason"], registry=REGISTRY)
EVENTS_DROPPED = Counter("cloudpush_events_dropped", "Events for Flower that were not sent.", registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "cloudpush_queue_seconds", "From acceptance to a worker's first attempt.", buckets=_SECONDS, registry=REGISTRY
)
ATTEMPT_SECONDS = Histogram(
    "cloudpush_attempt_seconds",
    "One attempt at the pushes of a task: look-ups and node calls.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
LOOKUP_SECONDS = Histogram(
    "cloudpush_lookup_seconds", "One look-up of all keys of a task.", buckets=_SECONDS, registry=REGISTRY
)
NODES_SECONDS = Histogram(
    "cloudpush_nodes_seconds",
    "One round of calls to nodes, until the last of them has answered.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
SETTLE_SECONDS = Histogram(
    "cloudpush_settle_seconds",
    "From the nodes' answers to the end of a task: receipts, dead letters, later attempts.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
TASK_PUSHES = Histogram(
    "cloudpush_task_pushes", "Pushes in a task.", buckets=(1, 2, 5, 10, 20, 50, 100, 1000), registry=REGISTRY
)
SPLITS = Counter(
    "cloudpush_task_splits",
    "Tasks of several pushes that were split into tasks of one, by why: redelivered, failed.",
    ["why"],
    registry=REGISTRY,
)
STORE_UP = Gauge("cloudpush_store_up", "1 while the store answers this worker.", registry=REGISTRY)
LEADING = Gauge("cloudpush_reconciler_leading", "1 while this worker is the one that reconciles.", registry=REGISTRY)
RECONCILED = Counter(
    "cloudpush_reconciled",
    "Pushes whose task was missing, by what the reconciler did: published, scheduled (their time had come), removed "
    "(nothing was left to publish), malformed.",
    ["how"],
    registry=REGISTRY,
)
PENDING = Gauge(
    "cloudpush_pending", "Recorded pushes that no worker has had yet, as the leading worker sees it.", registry=REGISTRY
)
PENDING_LATE_SECONDS = Gauge(
    "cloudpush_pending_late_seconds", "How long the one that is due longest has been due.", registry=REGISTRY
)

_EXEMPLAR_KEPT = 64  # characters; OpenMetrics takes 128 with the name


def exemplar(push_id: str) -> dict[str, str]:
    """Name, beside a figure, a push that it was seen with."""
    return {"push_id": push_id[:_EXEMPLAR_KEPT]}
