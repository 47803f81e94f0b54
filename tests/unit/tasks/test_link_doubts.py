"""Who may ask a suspect node, and how many may wait for slow ones."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tasks.link_doubts import Doubts, Shares


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_suspect_is_left_alone_for_a_moment_and_then_asked_by_one() -> None:
    deadline_s = 2.0
    clock = _Clock()
    doubts = Doubts(deadline_s, clock)
    assert doubts.may_ask("a")
    doubts.late("a")
    assert (doubts.may_ask("a"), doubts.may_ask("b")) == (False, True)
    clock.now += 1.0
    assert [doubts.may_ask("a") for _ in range(3)] == [True, False, False]
    clock.now += deadline_s
    assert [doubts.may_ask("a") for _ in range(3)] == [True, False, False], "the first one never came back"
    doubts.told("a")
    assert [doubts.may_ask("a") for _ in range(3)] == [True, True, True]


def test_of_many_threads_that_see_the_suspicion_end_one_asks() -> None:
    clock = _Clock()
    for _ in range(50):
        doubts = Doubts(2.0, clock)
        doubts.late("a")
        clock.now += 1.0
        together = threading.Barrier(8)

        def ask(doubts: Doubts = doubts, together: threading.Barrier = together) -> bool:
            together.wait(5)
            return doubts.may_ask("a")

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask) for _ in range(8)]
        assert sum(each.result() for each in asked) == 1


def test_slow_nodes_together_hold_half_of_the_threads() -> None:
    shares, slow = Shares(4), {"ill", "worse"}.__contains__
    shares.enter(1, ["well"])
    shares.enter(2, ["ill", "well"])
    assert not shares.full(slow)
    shares.enter(3, ["worse"])
    assert shares.full(slow)
    shares.leave(2)
    assert not shares.full(slow)


def test_those_who_were_there_first_may_stay_and_the_others_leave() -> None:
    shares, slow = Shares(4), {"ill"}.__contains__
    for call in range(4):
        shares.enter(call, ["ill"])
    assert [shares.over(call, slow) for call in range(4)] == [False, False, True, True]
    shares.leave(0)
    assert [shares.over(call, slow) for call in range(1, 4)] == [False, False, True]


def test_a_worker_of_one_thread_may_wait_for_a_slow_node() -> None:
    assert not Shares(1).full(lambda _: True)
