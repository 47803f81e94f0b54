"""The worker's threads: what is urgent first, and a thread for it whatever else goes on."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from proto.queues import Priority
from tasks.pool import TaskPool, rank_of

_SOON_S = 10.0


class _Gate:
    """Tasks that wait until they are let go; *begun* names those that run or ran, in the order of their beginnings."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended = threading.Semaphore(0)
        self._changed = threading.Condition()
        self._open = False

    def run(self, name: str, *_: Any) -> None:
        with self._changed:
            self.begun.append(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, _SOON_S)
        self.ended.release()

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, _SOON_S), self.begun


@pytest.fixture
def gate() -> Iterator[_Gate]:
    gate = _Gate()
    yield gate
    gate.open()


def _pool(threads: int) -> TaskPool:
    pool = TaskPool(threads)
    pool.start()
    return pool


def _put(pool: TaskPool, gate: _Gate, name: str, priority: Priority) -> None:
    request = {"delivery_info": {"routing_key": priority.queue}}
    pool.apply_async(gate.run, (name, "id", request), callback=lambda _: None)


def test_of_what_waits_the_most_urgent_goes_first_and_equals_as_they_came(gate: _Gate) -> None:
    pool = _pool(1)
    _put(pool, gate, "first", Priority.BULK)
    gate.wait_for(1)
    for number, priority in enumerate([Priority.BULK, Priority.NORMAL, Priority.HIGH, Priority.BULK, Priority.HIGH]):
        _put(pool, gate, f"{priority.value}-{number}", priority)
    gate.open()
    gate.wait_for(6)
    assert gate.begun == ["first", "high-2", "high-4", "normal-1", "bulk-0", "bulk-3"]
    pool.stop()


def test_bulk_leaves_a_thread_to_normal_and_both_leave_one_to_high(gate: _Gate) -> None:
    pool = _pool(4)
    for number in range(6):
        _put(pool, gate, f"bulk-{number}", Priority.BULK)
    gate.wait_for(2)
    _put(pool, gate, "normal", Priority.NORMAL)
    gate.wait_for(3)
    _put(pool, gate, "normal too", Priority.NORMAL)
    _put(pool, gate, "high", Priority.HIGH)
    gate.wait_for(4)
    assert gate.begun == ["bulk-0", "bulk-1", "normal", "high"]
    gate.open()
    gate.wait_for(9)
    for _ in range(9):
        assert gate.ended.acquire(timeout=_SOON_S)
    pool.stop()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_few_threads_do_all_the_same(gate: _Gate, threads: int) -> None:
    pool = _pool(threads)
    gate.open()
    for priority in Priority:
        for number in range(5):
            _put(pool, gate, f"{priority.value}-{number}", priority)
    for _ in range(15):
        assert gate.ended.acquire(timeout=_SOON_S)
    pool.stop()


def test_a_task_that_raises_leaves_its_thread_at_work(gate: _Gate) -> None:
    pool = _pool(1)

    def fails(*_: Any) -> None:
        raise SystemError("not for Celery")

    pool.apply_async(fails, ("bad", "id", {}), callback=lambda _: None)
    gate.open()
    _put(pool, gate, "after", Priority.NORMAL)
    gate.wait_for(1)
    pool.stop()


def test_stopping_waits_for_what_runs_and_begins_nothing_more(gate: _Gate) -> None:
    pool = _pool(1)
    _put(pool, gate, "runs", Priority.NORMAL)
    _put(pool, gate, "waits", Priority.NORMAL)
    gate.wait_for(1)
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    assert stopping.is_alive()
    gate.open()
    stopping.join(_SOON_S)
    assert not stopping.is_alive()
    assert gate.ended.acquire(timeout=_SOON_S)
    assert gate.begun == ["runs"]


@pytest.mark.parametrize(
    ("routing_key", "rank"),
    [("cloudpush.high", 0), ("cloudpush.normal", 1), ("cloudpush.bulk", 2), ("0.0.1.0.cloudpush.high", 0), ("x", 1)],
)
def test_urgency_is_that_of_the_queue_delayed_or_not(routing_key: str, rank: int) -> None:
    assert rank_of(("task", "id", {"delivery_info": {"routing_key": routing_key}})) == rank


def test_what_says_nothing_of_its_queue_is_normal() -> None:
    nothing: list[tuple[object, ...]] = [(), ("task", "id", {}), ("task", "id", None)]
    assert [rank_of(args) for args in nothing] == [1, 1, 1]
