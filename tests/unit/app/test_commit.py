"""The interleavings of app/commit.py, each made to happen with a broker that does what the test says."""

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from app.broker import Settled, TaskMessage, Verdict
from app.commit import Committer, Intake, State
from app.publisher import Publisher
from proto.errors import BrokerUnavailable
from tests.parts.process import until

_LONG_S = 10.0
_SHORT_S = 0.05


def _message(task_id: str = "t") -> TaskMessage:
    return TaskMessage(task_id, "q", {}, {}, b"")


class Scripted:
    """A broker that connects when allowed, and settles, blocks and dies on command."""

    def __init__(self) -> None:
        self.published: queue.Queue[tuple[int, str]] = queue.Queue()
        self.may_open = threading.Event()
        self.may_open.set()
        self.opened = 0
        self.blocked = False
        self.refuses_to_publish = False
        self._words: queue.Queue[Settled | None] = queue.Queue()
        self._tag = 0
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)

    def open(self) -> None:
        if not self.may_open.is_set():
            raise BrokerUnavailable("refused")
        self._tag, self.opened, self.blocked = 0, self.opened + 1, False

    def close(self) -> None:
        self._hush()
        while not self._words.empty():
            self._words.get_nowait()

    def fileno(self) -> int:
        return self._ear.fileno()

    def publish(self, message: TaskMessage) -> int:
        if self.refuses_to_publish:
            raise BrokerUnavailable("broken pipe")
        self._tag += 1
        self.published.put((self._tag, message.task_id))
        return self._tag

    def receive(self) -> list[Settled]:
        self._hush()
        words = []
        while not self._words.empty():
            word = self._words.get_nowait()
            if word is None:
                raise BrokerUnavailable("connection reset")
            words.append(word)
        return words

    def tick(self) -> None:
        return

    def say(self, tag: int, verdict: Verdict = Verdict.CONFIRMED, *, multiple: bool = False) -> None:
        self._words.put(Settled(tag, multiple, verdict))
        self._bell.send(b"!")

    def lose(self) -> None:
        self._words.put(None)
        self._bell.send(b"!")

    def alarm(self, on: bool) -> None:
        self.blocked = on
        self.say(0)

    def _hush(self) -> None:
        with suppress(BlockingIOError):  # the bell rings after the word is there, so none is missed
            self._ear.recv(65_536)

    def next(self) -> tuple[int, str]:
        return self.published.get(timeout=_LONG_S)


@dataclass
class Rig:
    broker: Scripted
    committer: Committer
    publisher: Publisher
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def is_(self, state: State) -> None:
        until(lambda: self.committer.state is state, _LONG_S, f"the committer to be {state}")

    def begin(self, task_id: str = "t", timeout_s: float = _LONG_S) -> Callable[[], None]:
        """Commit on another thread; the result waits for its end and raises what it raised."""
        future = self.pool.submit(self.committer.commit, _message(task_id), timeout_s)
        return lambda: future.result(_LONG_S)


@contextmanager
def _rig(*, bound: int = 8, stall_s: float = _LONG_S, max_in_flight: int = 8) -> Iterator[Rig]:
    broker, intake = Scripted(), Intake(bound)
    publisher = Publisher(broker, intake, stall_s=stall_s, max_in_flight=max_in_flight)
    rig = Rig(broker, Committer(intake, publisher), publisher)
    rig.committer.start()
    try:
        rig.is_(State.UP)
        yield rig
    finally:
        broker.lose()
        rig.committer.close(_LONG_S)
        rig.pool.shutdown()
        assert not publisher.is_alive()


def _fails(call: Callable[[], None], what: str) -> None:
    with pytest.raises(BrokerUnavailable, match=what):
        call()


def test_a_commit_returns_when_its_own_task_is_confirmed() -> None:
    with _rig() as rig:
        first, second = rig.begin("one"), rig.begin("two")
        tags = {task_id: tag for tag, task_id in (rig.broker.next(), rig.broker.next())}
        rig.broker.say(tags["two"])
        second()
        rig.broker.say(tags["one"], Verdict.NACKED)
        _fails(first, "refused the message")


def test_one_word_may_settle_many() -> None:
    with _rig() as rig:
        calls = [rig.begin() for _ in range(3)]
        for _ in calls:
            rig.broker.next()
        rig.broker.say(3, multiple=True)
        for call in calls:
            call()
        assert rig.publisher.in_flight == 0


def test_an_unroutable_message_fails_though_it_is_confirmed_afterwards() -> None:
    with _rig() as rig:
        call = rig.begin()
        tag, _ = rig.broker.next()
        rig.broker.say(tag, Verdict.UNROUTABLE)
        rig.broker.say(tag)
        _fails(call, "no queue takes the message")


def test_a_confirm_that_comes_too_late_is_never_taken_for_anothers() -> None:
    with _rig() as rig:
        _fails(lambda: rig.committer.commit(_message("late"), _SHORT_S), "did not confirm within")
        late, _ = rig.broker.next()
        call = rig.begin("other")
        other, _ = rig.broker.next()
        rig.broker.say(late)
        until(lambda: rig.publisher.in_flight == 1, _LONG_S, "the late confirm to be read")
        rig.broker.say(other, Verdict.NACKED)
        _fails(call, "refused the message")


def test_a_task_whose_request_gave_up_while_it_waited_is_never_published() -> None:
    with _rig(max_in_flight=1) as rig:
        first = rig.begin("first")
        tag, _ = rig.broker.next()
        _fails(lambda: rig.committer.commit(_message("given up"), _SHORT_S), "did not confirm within")
        third = rig.begin("third")
        rig.broker.say(tag)
        first()
        assert rig.broker.next() == (2, "third")
        rig.broker.say(2)
        third()


def test_a_lost_connection_fails_all_in_flight_at_once_and_old_confirms_reach_nobody() -> None:
    with _rig() as rig:
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
    with _rig() as rig:
        rig.broker.refuses_to_publish = True
        rig.broker.may_open.clear()
        calls = [rig.begin() for _ in range(3)]
        for call in calls:
            _fails(call, "connection to the broker was lost|cannot be reached")


def test_while_the_broker_is_away_commits_are_refused_at_once_and_later_taken_again() -> None:
    with _rig() as rig:
        rig.broker.may_open.clear()
        rig.broker.lose()
        rig.is_(State.DOWN)
        _fails(lambda: rig.committer.commit(_message(), _LONG_S), "cannot be reached")
        rig.broker.may_open.set()
        rig.is_(State.UP)
        call = rig.begin()
        rig.broker.say(rig.broker.next()[0])
        call()


def test_a_broker_that_settles_nothing_for_long_is_hung_up_on() -> None:
    with _rig(stall_s=0.2) as rig:
        _fails(rig.begin(), "connection to the broker was lost")
        until(lambda: rig.broker.opened == 2, _LONG_S, "a second connection")


def test_during_an_alarm_commits_are_refused_at_once_but_what_is_in_flight_may_still_be_confirmed() -> None:
    with _rig(stall_s=0.2) as rig:
        call = rig.begin()
        tag, _ = rig.broker.next()
        rig.broker.alarm(True)
        rig.is_(State.BLOCKED)
        _fails(lambda: rig.committer.commit(_message(), _LONG_S), "short of memory or disk")
        rig.broker.say(tag)
        call()
        rig.broker.alarm(False)
        rig.is_(State.UP)
        assert rig.broker.opened == 1


def test_more_than_the_bound_is_refused_at_once() -> None:
    with _rig(bound=2, max_in_flight=1) as rig:
        calls = [rig.begin("in flight")]
        rig.broker.next()
        calls += [rig.begin(), rig.begin()]
        until(lambda: len(rig.committer._intake) == 2, _LONG_S, "two to wait")
        _fails(lambda: rig.committer.commit(_message(), _LONG_S), "2 pushes wait for the broker already")
        for tag in (1, 2, 3):
            rig.broker.say(tag)
            if tag < 3:
                rig.broker.next()
        for call in calls:
            call()


def test_a_close_publishes_what_waits_and_waits_for_the_confirms() -> None:
    with _rig(max_in_flight=1) as rig:
        first, second = rig.begin("first"), None
        rig.broker.next()
        second = rig.begin("second")
        until(lambda: len(rig.committer._intake) == 1, _LONG_S, "the second to wait")
        closing = rig.pool.submit(rig.committer.close, _LONG_S)
        rig.is_(State.CLOSED)
        _fails(lambda: rig.committer.commit(_message(), _LONG_S), "shutting down")
        rig.broker.say(1)
        assert rig.broker.next() == (2, "second")
        rig.broker.say(2)
        first()
        second()
        closing.result(_LONG_S)


def test_a_close_fails_what_the_broker_leaves_open() -> None:
    with _rig(stall_s=0.2) as rig:
        call = rig.begin()
        rig.broker.next()
        rig.committer.close(_LONG_S)
        _fails(call, "was lost")
        assert not rig.publisher.is_alive()


def test_a_close_while_the_broker_is_away_ends_soon() -> None:
    with _rig() as rig:
        rig.broker.may_open.clear()
        rig.broker.lose()
        rig.is_(State.DOWN)
        rig.committer.close(_LONG_S)
        assert not rig.publisher.is_alive()


def test_in_a_forked_process_commits_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with _rig() as rig:
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        _fails(lambda: rig.committer.commit(_message(), _LONG_S), "forked")
        assert rig.broker.published.empty()


def test_a_fault_of_ours_in_the_thread_fails_the_pushes_and_not_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with _rig() as rig:
        call = rig.begin()
        rig.broker.next()
        with monkeypatch.context() as patched:
            patched.setattr(rig.broker, "receive", lambda: 1 // 0)
            rig.broker._bell.send(b"!")
            _fails(call, "the publisher failed")
        rig.is_(State.UP)


def test_hammered_from_many_threads_every_commit_gets_its_own_answer() -> None:
    """Even task ids are confirmed, odd ones refused; in batches, so that tags and answers would mix if they could."""
    with _rig(bound=64, max_in_flight=16) as rig:
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
                rig.committer.commit(_message(str(number)), _LONG_S)
            except BrokerUnavailable:
                return False
            return True

        settler = threading.Thread(target=settle)
        settler.start()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(confirmed, range(2000)))
        stop.set()
        settler.join()
        assert answers == [number % 2 == 0 for number in range(2000)]
