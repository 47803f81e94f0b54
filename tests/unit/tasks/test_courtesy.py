"""Bulk gives way while anything more urgent has come lately."""

import threading

import pytest

from proto.queues import Priority
from tasks.courtesy import LATELY_S, LONGEST_REST_S, Courtesy


class _Time:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def courtesy(time: _Time) -> Courtesy:
    return Courtesy(time, time.sleep)


def _work(courtesy: Courtesy, time: _Time, priority: Priority, seconds: float) -> None:
    with courtesy.working(priority):
        time.now += seconds


def test_bulk_alone_never_rests(courtesy: Courtesy, time: _Time) -> None:
    for _ in range(3):
        _work(courtesy, time, Priority.BULK, 0.01)
    assert time.slept == []


@pytest.mark.parametrize("priority", [Priority.HIGH, Priority.NORMAL])
def test_while_others_come_bulk_rests_as_long_as_it_has_worked(
    courtesy: Courtesy, time: _Time, priority: Priority
) -> None:
    _work(courtesy, time, priority, 0.001)
    _work(courtesy, time, Priority.BULK, 0.01)
    assert time.slept == [0.01]


def test_a_rest_is_bounded(courtesy: Courtesy, time: _Time) -> None:
    courtesy.note(Priority.HIGH)
    _work(courtesy, time, Priority.BULK, 0.2)
    courtesy.rest(1.0)
    assert time.slept == [LONGEST_REST_S]  # by the second time, what was urgent has long passed


def test_a_moment_after_the_last_urgent_push_bulk_has_all_the_time_again(courtesy: Courtesy, time: _Time) -> None:
    courtesy.note(Priority.HIGH)
    time.now += LATELY_S
    _work(courtesy, time, Priority.BULK, 0.01)
    assert time.slept == []


def test_urgent_work_never_rests_and_never_waits_for_bulk(courtesy: Courtesy, time: _Time) -> None:
    courtesy.note(Priority.HIGH)
    with courtesy.working(Priority.BULK):
        _work(courtesy, time, Priority.HIGH, 0.01)
    assert time.slept == [0.01]  # the bulk's, when it ended


def test_while_others_are_urgent_one_works_on_bulk_at_a_time() -> None:
    courtesy, inside, go_on = Courtesy(), threading.Event(), threading.Event()
    courtesy.note(Priority.HIGH)
    order = []

    def first() -> None:
        with courtesy.working(Priority.BULK):
            inside.set()
            assert go_on.wait(10)
            order.append("first")

    def second() -> None:
        with courtesy.working(Priority.BULK):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_who_has_waited_long_for_its_turn_goes_on_without_it() -> None:
    courtesy = Courtesy()
    courtesy.note(Priority.HIGH)
    done = threading.Event()

    def other() -> None:
        courtesy.note(Priority.HIGH)
        with courtesy.working(Priority.BULK):
            done.set()

    with courtesy.working(Priority.BULK):
        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(10)
    thread.join(10)


def test_work_that_fails_gives_its_turn_back(courtesy: Courtesy, time: _Time) -> None:
    courtesy.note(Priority.HIGH)
    with pytest.raises(RuntimeError), courtesy.working(Priority.BULK):
        raise RuntimeError
    _work(courtesy, time, Priority.BULK, 0.01)
    assert time.slept[-1] == 0.01
