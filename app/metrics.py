"""What this process counts, in a registry of its own, so that a second app in the same process counts apart."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_ACCEPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    """The logic tier's metrics; names are part of the interface."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "cloudpush_pushes_accepted", "Pushes answered with 202.", ["priority"], registry=self.registry
        )
        self.refused = Counter(
            "cloudpush_pushes_refused", "Pushes answered with an error.", ["status"], registry=self.registry
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
        self.accept_seconds = Histogram(
            "cloudpush_accept_seconds",
            "From a valid push to the broker's confirm.",
            buckets=_ACCEPT_BUCKETS,
            registry=self.registry,
        )

    def watch(
        self, *, inflight: Callable[[], float], broker_up: Callable[[], float], store_up: Callable[[], float]
    ) -> None:
        """Add the gauges, each read from its owner when /metrics is."""
        self.add_gauge("cloudpush_commit_inflight", "Tasks published and not yet settled by the broker.", inflight)
        self.add_gauge("cloudpush_broker_up", "1 while the broker takes pushes.", broker_up)
        self.add_gauge("cloudpush_store_up", "1 while the store answers.", store_up)

    def add_gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add one gauge, read from its owner when /metrics is."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Give the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
