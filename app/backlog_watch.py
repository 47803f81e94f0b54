"""The thread that looks at the queues for app/backlog.py: depths from the broker, ages from the store.

It has a broker connection of its own, and every question a deadline; a broker that does not answer costs a look two
seconds at most, a store one.  Refuses to judge.
"""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog

from app.backlog import Backlog, Bound, Queue
from app.depths import Depths, EmbeddedDepths, RabbitDepths
from app.metrics import Metrics
from app.settings import WebSettings
from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.queues import Priority
from store.ages import Taken

_UNKNOWN = float("nan")

log = structlog.get_logger(__name__)


class Notes(Protocol):
    """Where workers say what they took."""

    def read(self) -> dict[Priority, Taken]:
        """Ask; raises StoreUnavailable."""


class BacklogWatch(threading.Thread):
    """Looks every *every_s* seconds, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        backlog: Backlog,
        depths: Depths,
        notes: Notes,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="backlog-watch", daemon=True)
        self._backlog = backlog
        self._depths = depths
        self._notes = notes
        self._every_s = every_s
        self._clock = clock
        self._stop_asked = threading.Event()
        self.sees_depths = False
        self.sees_ages = False

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stop_asked.is_set():
            try:
                self.look()
            except Exception:  # a fault of ours must not leave requests with what was seen last, for ever
                log.exception("backlog_watch_failed")
                self.sees_depths = self.sees_ages = False
                self._backlog.look(self._clock(), None, None)
            self._stop_asked.wait(self._every_s)
        self._depths.close()

    def look(self) -> None:
        """Look once."""
        taken, depths = self._taken(), self._read_depths()
        self.sees_depths, self.sees_ages = depths is not None, taken is not None
        self._backlog.look(self._clock(), depths, taken)

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(timeout_s)

    def show(self, metrics: Metrics) -> None:
        """Add what is seen to *metrics*; a number that is not known is NaN."""
        queues = self._backlog.queues
        metrics.add_gauges(
            "cloudpush_queue_depth",
            "Tasks that wait in a queue for a worker; a task is one to many pushes.",
            {priority.value: partial(_depth, queue) for priority, queue in queues.items()},
        )
        metrics.add_gauges(
            "cloudpush_queue_age_seconds",
            "How long the oldest of them waits.",
            {priority.value: partial(_age_s, queue) for priority, queue in queues.items()},
        )
        metrics.add_gauges(
            "cloudpush_queue_full",
            "1 while a queue is past a bound, or was and is not well below.",
            {priority.value: partial(_is_full, queue) for priority, queue in queues.items()},
        )
        metrics.add_gauge("cloudpush_queue_depths_seen", "1 while the broker tells depths.", lambda: self.sees_depths)
        metrics.add_gauge("cloudpush_queue_ages_seen", "1 while the store tells ages.", lambda: self.sees_ages)

    def _read_depths(self) -> Mapping[Priority, int] | None:
        try:
            return self._depths.read()
        except BrokerUnavailable as error:
            if self.sees_depths:
                log.warning("queues_unseen", reason=str(error))
            return None

    def _taken(self) -> Mapping[Priority, Taken] | None:
        try:
            return self._notes.read()
        except StoreUnavailable:  # the store's own watch says so in the log
            return None


def make_backlog(settings: WebSettings, notes: Notes, metrics: Metrics) -> tuple[Backlog, BacklogWatch]:
    """Make both, for the broker that celeryconfig.py names, and show them in *metrics*; starts nothing."""
    import celeryconfig

    refusals = {priority: metrics.overloaded.labels(priority.value) for priority in Priority}
    backlog = Backlog(bounds(settings), lambda priority: refusals[priority].inc())
    url = celeryconfig.broker_url
    depths: Depths = (
        RabbitDepths(url)
        if celeryconfig.settings.on_rabbitmq
        else EmbeddedDepths(url, celeryconfig.broker_transport_options)
    )
    watch = BacklogWatch(backlog, depths, notes, settings.backlog_watch_s)
    watch.show(metrics)
    return backlog, watch


def bounds(settings: WebSettings) -> dict[Priority, Bound]:
    """Read the bounds of each queue from the settings."""
    return {
        Priority.HIGH: Bound(settings.max_depth_high, settings.max_age_high_s),
        Priority.NORMAL: Bound(settings.max_depth_normal, settings.max_age_normal_s),
        Priority.BULK: Bound(settings.max_depth_bulk, settings.max_age_bulk_s),
    }


def _depth(queue: Queue) -> float:
    return _UNKNOWN if (depth := queue.depth) is None else depth


def _age_s(queue: Queue) -> float:
    return _UNKNOWN if (age_s := queue.age_s) is None else age_s


def _is_full(queue: Queue) -> float:
    return queue.full
