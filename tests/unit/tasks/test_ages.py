"""What a worker says about how long pushes waited."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from proto.errors import StoreUnavailable
from proto.queues import Priority
from tasks import ages
from tasks.ages import AgeNotes
from tests.parts.process import until


class _Ages:
    def __init__(self) -> None:
        self.notes: list[dict[Priority, int]] = []
        self.down = False

    def note(self, ages_ms: Mapping[Priority, int]) -> None:
        if self.down:
            raise StoreUnavailable("gone")
        self.notes.append(dict(ages_ms))


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    ages.taken()
    yield
    ages.taken()


def test_the_least_age_of_each_priority_counts_since_one_old_task_says_nothing() -> None:
    for age_ms in (90, 40, 60_000):
        ages.note(Priority.BULK, age_ms)
    ages.note(Priority.HIGH, 3)
    assert ages.taken() == {Priority.HIGH: 3, Priority.BULK: 40}
    assert ages.taken() == {}


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    ages.note(Priority.HIGH, -5)
    assert ages.taken() == {Priority.HIGH: 0}


def test_what_is_noted_is_written_by_a_thread_until_it_is_stopped() -> None:
    store: Any = _Ages()
    notes = AgeNotes(store, every_s=0.001)
    notes.start()
    ages.note(Priority.NORMAL, 7)
    until(lambda: store.notes == [{Priority.NORMAL: 7}], 5, "the note")
    notes.stop()
    assert not notes.is_alive()


def test_the_last_of_what_is_noted_is_written_when_the_thread_is_stopped() -> None:
    store: Any = _Ages()
    notes = AgeNotes(store, every_s=3600)
    notes.start()
    ages.note(Priority.NORMAL, 7)
    notes.stop()
    assert store.notes == [{Priority.NORMAL: 7}]


def test_a_note_that_could_not_be_written_is_not_written_later() -> None:
    store: Any = _Ages()
    notes, store.down = AgeNotes(store), True
    ages.note(Priority.NORMAL, 7)
    notes.write()
    store.down = False
    notes.write()
    assert store.notes == []
    ages.note(Priority.NORMAL, 9)
    notes.write()
    assert store.notes == [{Priority.NORMAL: 9}]
