"""The interleavings of app/commit.py, each made to happen with a broker that does what the test says."""

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.broker import Verdict
from app.intake import State
from proto.errors import BrokerUnavailable
from tests.parts.process import until
from tests.parts.scripted_broker import LONG_S, a_call, committing

_SHORT_S = 0.05


def _fails(call: Callable[[], None], what: str) -> None:
    with pytest.raises(BrokerUnavailable, match=what):
        call()


def test_a_commit_returns_when_its_own_task_is_confirmed() -> None:
    with committing() as rig:
        first, second = rig.begin("one"), rig.begin("two")
        tags = {task_id: tag for tag, task_id in (rig.broker.next(), rig.broker.next())}
        rig.broker.say(tags["two"])
        second()
        rig.broker.say(tags["one"], Verdict.NACKED)
        _fails(first, "refused the message")


def test_one_word_may_settle_many() -> None:
    with committing() as rig:
        calls = [rig.begin() for _ in range(3)]
        for _ in calls:
            rig.broker.next()
        rig.broker.say(3, multiple=True)
        for call in calls:
            call()
        assert rig.publisher.in_flight == 0


def test_an_unroutable_message_fails_though_it_is_confirmed_afterwards() -> None:
    with committing() as rig:
        call = rig.begin()
        tag, _ = rig.broker.next()
        rig.broker.say(tag, Verdict.UNROUTABLE)
        rig.broker.say(tag)
        _fails(call, "no queue takes the message")


def test_a_confirm_that_comes_too_late_is_never_taken_for_anothers() -> None:
    with committing() as rig:
        _fails(lambda: rig.committer.commit(a_call("late"), _SHORT_S), "did not confirm within")
        late, _ = rig.broker.next()
        call = rig.begin("other")
        other, _ = rig.broker.next()
        rig.broker.say(late)
        until(lambda: rig.publisher.in_flight == 1, LONG_S, "the late confirm to be read")
        rig.broker.say(other, Verdict.NACKED)
        _fails(call, "refused the message")


def test_a_confirm_that_comes_while_the_request_gives_up_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Future.result

    def just_too_late(future: "Future[None]", timeout: float | None = None) -> None:
        result(future, LONG_S)
        if timeout == _SHORT_S:
            raise TimeoutError

    with committing() as rig:
        monkeypatch.setattr(Future, "result", just_too_late)
        call = rig.begin(timeout_s=_SHORT_S)
        rig.broker.say(rig.broker.next()[0])
        call()


def test_a_task_whose_request_gave_up_while_it_waited_is_never_published() -> None:
    with committing(max_in_flight=1) as rig:
        first = rig.begin("first")
        tag, _ = rig.broker.next()
        _fails(lambda: rig.committer.commit(a_call("given up"), _SHORT_S), "did not confirm within")
        third = rig.begin("third")
        rig.broker.say(tag)
        first()
        assert rig.broker.next() == (2, "third")
        rig.broker.say(2)
        third()


def test_a_lost_connection_fails_all_in_flight_at_once_and_old_confirms_reach_nobody() -> None:
    with committing() as rig:
        call = rig.begin("old")
        assert rig.broker.next() == (1, "old")
        rig.broker.lose()
        _fails(call, "connection to the broker was lost")
        rig.is_(State.UP)
        again = rig.begin("new")
        assert rig.broker.next() == (1, "new")
        rig.broker.say(1)
        again()
        assert rig.broker.opened == 2


def test_a_publish_that_fails_ends_its_request_and_those_taken_with_it() -> None:
    with committing() as rig:
        rig.broker.refuses_to_publish = True
        rig.broker.may_open.clear()
        calls = [rig.begin() for _ in range(3)]
        for call in calls:
            _fails(call, "connection to the broker was lost|cannot be reached")


def test_while_the_broker_is_away_commits_are_refused_at_once_and_later_taken_again() -> None:
    with committing() as rig:
        rig.broker.may_open.clear()
        rig.broker.lose()
        rig.is_(State.DOWN)
        _fails(lambda: rig.committer.commit(a_call(), LONG_S), "cannot be reached")
        rig.broker.may_open.set()
        rig.is_(State.UP)
        call = rig.begin()
        rig.broker.say(rig.broker.next()[0])
        call()


def test_a_broker_that_settles_nothing_for_long_is_hung_up_on() -> None:
    with committing(stall_s=0.2) as rig:
        _fails(rig.begin(), "connection to the broker was lost")
        until(lambda: rig.broker.opened == 2, LONG_S, "a second connection")


def test_during_an_alarm_commits_are_refused_at_once_but_what_is_in_flight_may_still_be_confirmed() -> None:
    with committing(stall_s=0.2) as rig:
        call = rig.begin()
        tag, _ = rig.broker.next()
        rig.broker.alarm(True)
        rig.is_(State.BLOCKED)
        _fails(lambda: rig.committer.commit(a_call(), LONG_S), "short of memory or disk")
        rig.broker.say(tag)
        call()
        rig.broker.alarm(False)
        rig.is_(State.UP)
        assert rig.broker.opened == 1


def test_more_than_the_bound_is_refused_at_once() -> None:
    with committing(bound=2, max_in_flight=1) as rig:
        calls = [rig.begin("in flight")]
        rig.broker.next()
        calls += [rig.begin(), rig.begin()]
        until(lambda: len(rig.committer._intake) == 2, LONG_S, "two to wait")
        _fails(lambda: rig.committer.commit(a_call(), LONG_S), "2 pushes wait for the broker already")
        for tag in (1, 2, 3):
            rig.broker.say(tag)
            if tag < 3:
                rig.broker.next()
        for call in calls:
            call()


def test_room_made_at_the_last_moment_of_a_turn_is_used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with committing(max_in_flight=1) as rig:
        first = rig.begin("first")
        rig.broker.next()
        publish = rig.publisher._publish

        def publish_then_confirm() -> None:
            publish()
            if len(rig.committer._intake):
                monkeypatch.undo()
                rig.broker.say(1)

        monkeypatch.setattr(rig.publisher, "_publish", publish_then_confirm)
        began = time.monotonic()
        second = rig.begin("second")
        assert rig.broker.next() == (2, "second")
        assert time.monotonic() - began < 0.5
        rig.broker.say(2)
        first()
        second()


def test_a_close_publishes_what_waits_and_waits_for_the_confirms() -> None:
    with committing(max_in_flight=1) as rig:
        first, second = rig.begin("first"), None
        rig.broker.next()
        second = rig.begin("second")
        until(lambda: len(rig.committer._intake) == 1, LONG_S, "the second to wait")
        closing = rig.pool.submit(rig.committer.close, LONG_S)
        rig.is_(State.CLOSED)
        _fails(lambda: rig.committer.commit(a_call(), LONG_S), "shutting down")
        rig.broker.say(1)
        assert rig.broker.next() == (2, "second")
        rig.broker.say(2)
        first()
        second()
        closing.result(LONG_S)


def test_a_close_fails_what_the_broker_leaves_open() -> None:
    with committing(stall_s=0.2) as rig:
        call = rig.begin()
        rig.broker.next()
        rig.committer.close(LONG_S)
        _fails(call, "was lost")
        assert not rig.publisher.is_alive()


def test_a_close_while_the_broker_is_away_ends_soon() -> None:
    with committing() as rig:
        rig.broker.may_open.clear()
        rig.broker.lose()
        rig.is_(State.DOWN)
        rig.committer.close(LONG_S)
        assert not rig.publisher.is_alive()


def test_in_a_forked_process_commits_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with committing() as rig:
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        _fails(lambda: rig.committer.commit(a_call(), LONG_S), "forked")
        assert rig.broker.published.empty()


def test_a_fault_of_ours_in_the_thread_fails_the_pushes_and_not_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with committing() as rig:
        call = rig.begin()
        rig.broker.next()
        with monkeypatch.context() as patched:
            patched.setattr(rig.broker, "receive", lambda: 1 // 0)
            rig.broker.ring()
            _fails(call, "the publisher failed")
        rig.is_(State.UP)


@pytest.mark.parametrize("max_in_flight", [1, 16])
def test_hammered_from_many_threads_every_commit_gets_its_own_answer(max_in_flight: int) -> None:
    """Even task ids are confirmed, odd ones refused: tags and answers would mix if they could."""
    with committing(bound=64, max_in_flight=max_in_flight) as rig:
        stop = threading.Event()

        def settle() -> None:
            while not stop.is_set():
                try:
                    tag, task_id = rig.broker.published.get(timeout=_SHORT_S)
                except queue.Empty:
                    continue
                rig.broker.say(tag, Verdict.NACKED if int(task_id) % 2 else Verdict.CONFIRMED)

        def confirmed(number: int) -> bool:
            try:
                rig.committer.commit(a_call(str(number)), LONG_S)
            except BrokerUnavailable:
                return False
            return True

        settler = threading.Thread(target=settle)
        settler.start()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(confirmed, range(1000)))
        stop.set()
        settler.join()
        assert answers == [number % 2 == 0 for number in range(1000)]
