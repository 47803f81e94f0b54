"""The window of a link: it grows while a node keeps up, and shrinks once for each time that it does not."""

import pytest

from tasks.link_window import FEW, MOST_BATCHES, MOST_BYTES, Window


@pytest.fixture
def window() -> Window:
    return Window()


def _halved(window: Window, times: int) -> None:
    for number in range(1, times + 1):
        window.sent(1)
        window.refused(1, number, number, now=0.0)


def test_a_few_batches_go_whatever_they_hold_and_more_only_when_they_are_full(window: Window) -> None:
    for _ in range(FEW):
        assert window.room(full=False)
        window.sent(1)
    assert not window.room(full=False)
    for _ in range(MOST_BATCHES - FEW):
        assert window.room(full=True)
        window.sent(1)
    assert not window.room(full=True)


def test_an_answer_makes_room(window: Window) -> None:
    for _ in range(MOST_BATCHES):
        window.sent(1)
    window.taken(1)
    assert window.room(full=True)
    assert not window.room(full=False)


def test_bytes_are_bounded(window: Window) -> None:
    window.sent(MOST_BYTES)
    assert not window.room(full=True)
    window.taken(MOST_BYTES)
    assert window.room(full=True)


def test_a_window_of_refusals_halves_it_once(window: Window) -> None:
    for _ in range(MOST_BATCHES):
        window.sent(1)
    for number in range(1, MOST_BATCHES + 1):
        window.refused(1, number, MOST_BATCHES, now=0.0)
    assert window.limit == MOST_BATCHES // 2
    window.sent(1)
    window.refused(1, MOST_BATCHES + 1, MOST_BATCHES + 1, now=0.0)
    assert window.limit == MOST_BATCHES // 4


def test_it_never_closes_and_recovers_by_about_one_batch_for_each_window_of_answers(window: Window) -> None:
    _halved(window, 10)
    assert window.limit == 1
    limits = []
    for _ in range(40):
        window.sent(1)
        window.taken(1)
        limits.append(window.limit)
    assert limits == sorted(limits)
    assert limits[0] == 2
    assert limits[2] == 2, "the next step takes more answers"
    assert limits[-1] == MOST_BATCHES


def test_pauses_come_when_one_batch_is_too_much_double_and_end_with_an_answer(window: Window) -> None:
    _halved(window, 3)
    assert not window.paused(0.0)
    pauses = []
    for number in range(4, 12):
        window.sent(1)
        window.refused(1, number, number, now=0.0)
        pauses.append(next(ms for ms in range(1, 1000) if not window.paused(ms / 1000)))
    assert pauses == [10, 20, 40, 80, 160, 250, 250, 250]
    window.sent(1)
    window.taken(1)
    window.sent(1)
    window.refused(1, 12, 12, now=1.0)
    assert not window.paused(1.0), "two batches were allowed by then"
    window.sent(1)
    window.refused(1, 13, 13, now=1.0)
    assert window.paused(1.009)
    assert not window.paused(1.011)


def test_the_end_of_a_stream_empties_it_but_what_was_learnt_stays(window: Window) -> None:
    _halved(window, 1)
    window.sent(MOST_BYTES)
    window.empty()
    assert (window.batches, window.bytes, window.limit) == (0, 0, MOST_BATCHES // 2)
