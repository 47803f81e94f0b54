"""When a queue is full, who is refused then, and for how long; by looks that a test makes up."""

from collections.abc import Mapping

import pytest

from app.backlog import LONGEST_RETRY_S, NEVER, Backlog, Bound, Queue
from app.errors import Overloaded
from proto.queues import Priority
from store.ages import Taken

_BOUND = Bound(tasks=100, age_s=10.0)
_NONE = dict.fromkeys(Priority, 0)


def _backlog() -> Backlog:
    return Backlog(dict.fromkeys(Priority, _BOUND))


def _refused(backlog: Backlog) -> dict[Priority, int]:
    """Who is refused now, and until when."""
    found = {}
    for priority in Priority:
        try:
            backlog.check(priority)
        except Overloaded as error:
            found[error.priority] = error.retry_after_s
    return found


def _looks(*looks: tuple[float, int], taken: Taken | None = None) -> Queue:
    queue = Queue(_BOUND)
    for now_s, depth in looks:
        queue.look(now_s, depth, taken)
    return queue


@pytest.mark.parametrize(
    ("deep", "who"),
    [
        (Priority.BULK, {Priority.BULK}),
        (Priority.NORMAL, {Priority.NORMAL, Priority.BULK}),
        (Priority.HIGH, {Priority.HIGH, Priority.NORMAL, Priority.BULK}),
    ],
)
def test_a_full_queue_refuses_its_own_priority_and_all_below(deep: Priority, who: set[Priority]) -> None:
    backlog = _backlog()
    backlog.look(0, {**_NONE, deep: 100}, {})
    assert _refused(backlog) == {}
    backlog.look(1, {**_NONE, deep: 101}, {})
    assert _refused(backlog).keys() == who


def test_nothing_is_refused_before_the_first_look() -> None:
    assert _refused(_backlog()) == {}


def test_a_queue_that_was_full_has_room_again_when_it_is_well_below() -> None:
    backlog = _backlog()
    for depth, refuses in ((101, True), (99, True), (81, True), (80, False), (100, False), (101, True)):
        backlog.look(0, {**_NONE, Priority.BULK: depth}, {})
        assert (Priority.BULK in _refused(backlog)) is refuses, depth


def test_what_cannot_be_seen_any_more_refuses_nothing() -> None:
    backlog = _backlog()
    backlog.look(0, dict.fromkeys(Priority, 1000), {})
    assert len(_refused(backlog)) == 3
    backlog.look(1, None, {})
    assert _refused(backlog) == {}
    assert {queue.depth for queue in backlog.queues.values()} == {None}


def test_each_refusal_is_counted_by_priority() -> None:
    told: list[Priority] = []
    backlog = Backlog(dict.fromkeys(Priority, _BOUND), told.append)
    backlog.look(0, {**_NONE, Priority.NORMAL: 500}, None)
    _refused(backlog)
    assert told == [Priority.NORMAL, Priority.BULK]


@pytest.mark.parametrize(
    ("looks", "taken", "age_s"),
    [
        (((0, 0), (5, 3), (9, 3)), Taken(1.0, 60.0), 9.0),  # an old word, of when it was empty in between
        (((0, 3), (5, 3), (9, 3)), Taken(4.0, 0.5), 4.5),  # never seen empty
        (((0, 0), (5, 3), (90, 3)), Taken(4.0, 0.5), 4.5),  # never empty, but quick
        (((0, 0), (5, 3), (9, 0)), Taken(4.0, 0.5), 0.0),  # empty: what workers hold is no backlog
        (((0, 0), (5, 3), (90, 3)), None, None),
    ],
    ids=["old-word", "not-seen-empty", "busy-and-quick", "empty", "no-word"],
)
def test_the_age_is_the_less_of_what_is_known(
    looks: tuple[tuple[float, int], ...], taken: Taken | None, age_s: float | None
) -> None:
    assert _looks(*looks, taken=taken).age_s == age_s


def test_a_queue_whose_oldest_waits_too_long_is_full_though_it_is_short() -> None:
    queue = Queue(_BOUND)
    queue.look(0, 0, Taken(0.1, 5.0))
    for now_s, full in ((1, False), (10, False), (10.1, True), (12, True)):
        queue.look(now_s, 5, Taken(0.1, 5.0 + now_s))  # nobody takes anything
        assert queue.full is full, now_s
    queue.look(13, 5, Taken(8.5, 0.1))
    assert queue.full
    queue.look(14, 5, Taken(7.5, 0.1))
    assert not queue.full


def test_while_no_worker_ever_said_anything_the_oldest_waits_since_it_was_empty() -> None:
    assert _looks((0, 0), (5, 3), (9, 3), taken=NEVER).age_s == 4.0
    assert _looks((0, 3), (5, 3), (9, 3), taken=NEVER).age_s == 9.0
    assert _looks((0, 3), (5, 0), (9, 0), taken=NEVER).age_s == 0.0


def test_a_store_that_was_emptied_makes_no_busy_queue_old() -> None:
    queue = _looks((0, 0), (5, 3), (500, 3), taken=Taken(0.2, 0.5))
    queue.look(501, 3, NEVER)
    assert queue.age_s == 0.0
    queue.look(502, 3, Taken(0.2, 0.5))
    assert queue.age_s == 0.7
    backlog = _backlog()
    backlog.look(0, {**_NONE, Priority.BULK: 1}, {})
    backlog.look(11, {**_NONE, Priority.BULK: 1}, {})
    assert _refused(backlog).keys() == {Priority.BULK}


def test_without_a_word_of_the_store_only_the_depth_refuses() -> None:
    assert not _looks((0, 0), (1, 100), (1000, 100)).full
    assert _looks((0, 0), (1, 100), (1000, 101)).full


def test_retry_after_is_when_it_has_room_at_the_pace_at_which_it_falls() -> None:
    # 200 a second less, and 600 above four fifths of the bound: three seconds.
    assert _looks((0, 1080), (1, 880), (2, 680)).retry_after_s() == 3


def test_retry_after_follows_the_age_where_that_is_what_takes_longer() -> None:
    queue = Queue(_BOUND)
    queue.look(0, 90, Taken(30.0, 0.0))
    queue.look(2, 50, Taken(28.0, 0.0))
    assert queue.retry_after_s() == 20  # one second a second, and 20 above


@pytest.mark.parametrize(("full_s", "retry_s"), [(0, 1), (1, 1), (4, 4), (500, LONGEST_RETRY_S)])
def test_while_nothing_falls_retry_after_grows_with_the_time_that_it_lasts(full_s: int, retry_s: int) -> None:
    assert _looks(*((now_s, 200 + now_s) for now_s in range(full_s + 1))).retry_after_s() == retry_s


def test_a_lower_priority_is_told_to_wait_for_the_higher_one_too() -> None:
    backlog = _backlog()
    falling: Mapping[Priority, tuple[int, int]] = {Priority.NORMAL: (1080, 680), Priority.BULK: (200, 120)}
    for now_s in (0, 1):
        backlog.look(now_s, {**_NONE, **{priority: depths[now_s] for priority, depths in falling.items()}}, {})
    assert _refused(backlog) == {Priority.NORMAL: 2, Priority.BULK: 2}
