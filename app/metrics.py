"""What this process counts, in a registry of its own, so that a second app in the same process counts apart."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proto.exposition import expose
from proto.queues import Priority

_TASK_BUCKETS = (1, 2, 5, 10, 20, 50, 100)
_ACCEPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_BATCH_BUCKETS = (1, 10, 50, 100, 250, 500, 1000)


class Metrics:
    """The logic tier's metrics; names are part of the interface."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "cloudpush_pushes_accepted", "Pushes answered with 202.", ["priority"], registry=self.registry
        )
        # Found once: to look a label up costs more than to count.
        self.accepted_by = {priority: self.accepted.labels(priority.value) for priority in Priority}
        self.refused = Counter(
            "cloudpush_pushes_refused",
            "Pushes, in batches too, answered with an error; a batch refused as a whole counts as one.",
            ["status"],
            registry=self.registry,
        )
        self.overloaded = Counter(
            "cloudpush_overload_refusals",
            "Pushes and disconnects refused since too much waits already, by priority.",
            ["priority"],
            registry=self.registry,
        )
        self.durable = Counter(
            "cloudpush_durable_pushes_accepted", "Those of them that are durable.", registry=self.registry
        )
        self.withdrawals = Counter(
            "cloudpush_push_withdrawals",
            "Recorded pushes that were refused after all; failed: the store could not be cleared of it.",
            ["result"],
            registry=self.registry,
        )
        self.repeated = Counter(
            "cloudpush_request_id_repeats", "Calls answered with the push of an earlier one.", registry=self.registry
        )
        self.cancelled = Counter(
            "cloudpush_pushes_cancelled", "Pushes cancelled for at least one key.", registry=self.registry
        )
        self.batch_pushes = Histogram(
            "cloudpush_batch_pushes",
            "Pushes of a batch call, accepted or not.",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "cloudpush_batch_seconds",
            "From the whole body of a batch call to the last of its results.",
            buckets=_ACCEPT_BUCKETS,
            registry=self.registry,
        )
        self.accept_seconds = Histogram(
            "cloudpush_accept_seconds",
            "From a valid push to the broker's confirm.",
            buckets=_ACCEPT_BUCKETS,
            registry=self.registry,
        )

        self.task_pushes = Histogram(
            "cloudpush_commit_task_pushes",
            "Pushes that share a task, as it is published.",
            buckets=_TASK_BUCKETS,
            registry=self.registry,
        )
        self.confirm_seconds = Histogram(
            "cloudpush_commit_confirm_seconds",
            "From the publish of a task to the broker's word on it.",
            buckets=_ACCEPT_BUCKETS,
            registry=self.registry,
        )

    def watch(
        self,
        *,
        inflight: Callable[[], float],
        waiting: Callable[[], float],
        broker_up: Callable[[], float],
        store_up: Callable[[], float],
    ) -> None:
        """Add the gauges, each read from its owner when /metrics is."""
        self.add_gauge("cloudpush_commit_inflight", "Tasks published and not yet settled by the broker.", inflight)
        self.add_gauge("cloudpush_commit_waiting", "Pushes that wait to share the next task.", waiting)
        self.add_gauge("cloudpush_broker_up", "1 while the broker takes pushes.", broker_up)
        self.add_gauge("cloudpush_store_up", "1 while the store answers.", store_up)

    def add_gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add one gauge, read from its owner when /metrics is."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def add_gauges(self, name: str, text: str, reads: Mapping[str, Callable[[], float]]) -> None:
        """Add one gauge with a value for each queue, read from their owner when /metrics is."""
        gauge = Gauge(name, text, ["queue"], registry=self.registry)
        for queue, read in reads.items():
            gauge.labels(queue).set_function(read)

    def text(self, accept: str | None = None) -> tuple[bytes, str]:
        """Give the metrics and their content type: OpenMetrics to who accepts it, else Prometheus' text format."""
        return expose(self.registry, accept)
