"""What the watch does where broker or store do not tell."""

from dataclasses import dataclass, field

import pytest

from app.backlog import Backlog, Bound
from app.backlog_watch import BacklogWatch
from app.errors import Overloaded
from app.metrics import Metrics
from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.queues import Priority
from store.ages import Taken
from tests.parts.process import until

_SOON_S = 5.0


@dataclass
class _Depths:
    normal: int | None = 0  # None: the broker does not tell
    fault: Exception | None = None
    looks: int = 0
    closed: bool = False

    def read(self) -> dict[Priority, int]:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        if self.normal is None:
            raise BrokerUnavailable("gone")
        return {**dict.fromkeys(Priority, 0), Priority.NORMAL: self.normal}

    def close(self) -> None:
        self.closed = True


@dataclass
class _Notes:
    taken: dict[Priority, Taken] | None = field(default_factory=dict)

    def read(self) -> dict[Priority, Taken]:
        if self.taken is None:
            raise StoreUnavailable("gone")
        return self.taken


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(dict.fromkeys(Priority, Bound(10, 5.0)))


def _lines(watch: BacklogWatch) -> list[str]:
    metrics = Metrics()
    watch.show(metrics)
    return metrics.text()[0].decode().splitlines()


def _is_full(backlog: Backlog) -> bool:
    try:
        backlog.check(Priority.NORMAL)
    except Overloaded:
        return True
    return False


def test_a_broker_that_does_not_tell_refuses_nothing_and_is_told_of(backlog: Backlog) -> None:
    depths = _Depths(50)
    watch = BacklogWatch(backlog, depths, _Notes(), 1, lambda: 0.0)
    watch.look()
    assert _is_full(backlog)
    depths.normal = None
    watch.look()
    assert not _is_full(backlog)
    lines = _lines(watch)
    assert 'cloudpush_queue_depth{queue="normal"} NaN' in lines
    assert "cloudpush_queue_depths_seen 0.0" in lines
    assert "cloudpush_queue_ages_seen 1.0" in lines
    depths.normal = 50
    watch.look()
    assert _is_full(backlog)


def test_a_store_that_does_not_tell_leaves_the_depth(backlog: Backlog) -> None:
    now_s = iter((0.0, 100.0, 101.0))
    depths, notes = _Depths(0), _Notes({Priority.NORMAL: Taken(30.0, 0.0)})
    watch = BacklogWatch(backlog, depths, notes, 1, lambda: next(now_s))
    watch.look()
    depths.normal = 1
    watch.look()
    assert _is_full(backlog), "one task that waits for 30 s"
    notes.taken = None
    watch.look()
    assert not _is_full(backlog)
    lines = _lines(watch)
    assert 'cloudpush_queue_age_seconds{queue="normal"} NaN' in lines
    assert 'cloudpush_queue_depth{queue="normal"} 1.0' in lines
    assert "cloudpush_queue_ages_seen 0.0" in lines


def test_depth_age_and_fullness_are_shown_for_each_queue(backlog: Backlog) -> None:
    watch = BacklogWatch(backlog, _Depths(50), _Notes({Priority.NORMAL: Taken(2.0, 0.5)}), 1, lambda: 0.0)
    watch.look()
    lines = _lines(watch)
    for line in (
        'cloudpush_queue_depth{queue="normal"} 50.0',
        'cloudpush_queue_depth{queue="high"} 0.0',
        'cloudpush_queue_age_seconds{queue="normal"} 2.5',
        'cloudpush_queue_age_seconds{queue="bulk"} 0.0',
        'cloudpush_queue_full{queue="normal"} 1.0',
        'cloudpush_queue_full{queue="bulk"} 0.0',
    ):
        assert line in lines


def test_a_fault_of_ours_neither_ends_the_thread_nor_refuses_for_ever(backlog: Backlog) -> None:
    depths = _Depths(50)
    watch = BacklogWatch(backlog, depths, _Notes(), 0.001)
    watch.start()
    until(lambda: _is_full(backlog), _SOON_S, "a full queue")
    depths.fault = RuntimeError("a fault of ours")
    until(lambda: not _is_full(backlog), _SOON_S, "no refusal by what is not seen")
    depths.fault = None
    until(lambda: _is_full(backlog), _SOON_S, "a full queue again")
    watch.stop(_SOON_S)
    assert not watch.is_alive()
    assert depths.closed
