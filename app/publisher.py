"""The thread that owns the broker connection: makes tasks of what requests handed over, and ends it by the confirms.

Waits on two things at once, the intake's bell and the broker's socket.  Read app/commit.py first: it lists how the
threads may meet.  Refuses to promise anything: a hand-over ends with the broker's word or with BrokerUnavailable.
"""

import random
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile

import structlog
from prometheus_client import Histogram

from app.broker import Broker, Call, Settled, TaskMessage, Verdict
from app.intake import Group, Intake, Lane, State
from proto.errors import BrokerUnavailable

_TICK_S = 1.0
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 1.0
_LOST = "the connection to the broker was lost"

log = structlog.get_logger(__name__)


class TaskWatch:
    """Measures tasks on their way; the publisher's thread only."""

    def __init__(self, pushes: Histogram, seconds: Histogram) -> None:
        self._pushes = pushes
        self._seconds = seconds
        self._began: dict[int, float] = {}

    def published(self, tag: int, pushes: int) -> None:
        """Note that a task of so many pushes is under way."""
        if tag == 1:
            self._began.clear()  # a new connection counts anew
        self._began[tag] = time.perf_counter()
        self._pushes.observe(pushes)

    def settled(self, tag: int) -> None:
        """Note that the broker has spoken."""
        if (began := self._began.pop(tag, None)) is not None:
            self._seconds.observe(time.perf_counter() - began)


class Publisher(threading.Thread):
    """See the module.  *stall_s* is how long the broker may leave everything in flight unanswered."""

    def __init__(
        self,
        broker: Broker,
        intake: Intake,
        form: Callable[[Sequence[Call]], TaskMessage],
        *,
        stall_s: float,
        max_in_flight: int,
        watch: TaskWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="publisher", daemon=True)
        self._broker = broker
        self._intake = intake
        self._form = form
        self._stall_s = stall_s
        self._max_in_flight = max_in_flight
        self._watch = watch
        self._clock = clock
        self._in_flight: dict[int, Group] = {}  # by tag, oldest first; emptied with the connection
        self._busy: Counter[Lane] = Counter()  # how many of them each lane has
        self._progress = 0.0  # when the broker last settled something, or had nothing to settle
        self._closing_at: float | None = None

    @property
    def in_flight(self) -> int:
        """How many tasks are published and not settled."""
        return len(self._in_flight)

    def run(self) -> None:
        """Connect, serve, and connect again until the intake is closed."""
        backoff = _FIRST_BACKOFF_S
        while self._intake.state is not State.CLOSED:
            reason, began = _LOST, self._clock()
            try:
                self._broker.open()
                log.info("broker_up")
                self._serve()
            except BrokerUnavailable as error:
                log.warning("broker_down", reason=str(error))
            except Exception:  # a fault of ours must not end the thread: every later push would hang on it
                log.exception("publisher_failed")
                reason = "the publisher failed"
            finally:
                self._intake.shut(State.DOWN, reason)
                self._fail_in_flight(reason)
                self._broker.close()
            # What fails soon again and again is tried more and more seldom, though it could connect.
            backoff = self._rest(backoff if self._clock() - began < _LAST_BACKOFF_S else _FIRST_BACKOFF_S)

    def _serve(self) -> None:
        """Publish and settle until the connection is lost (BrokerUnavailable) or all is done after a close."""
        self._progress = self._clock()
        next_tick = self._progress + _TICK_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._intake, selectors.EVENT_READ)
            if (descriptor := self._broker.fileno()) is not None:
                selector.register(descriptor, selectors.EVENT_READ)
            self._intake.open()
            made_room = False
            while not self._finished():
                selector.select(0.0 if made_room else self._idle_s(next_tick))
                self._hear()  # an alarm, perhaps: then nothing more is published
                self._publish()
                made_room = self._hear() and len(self._intake) > 0  # the embedded broker confirms at once
                now = self._clock()
                if now >= next_tick:
                    self._broker.tick()
                    next_tick = now + _TICK_S
                if now >= self._stalled_at():
                    raise BrokerUnavailable(f"the broker settled nothing for {self._stall_s} s")

    def _idle_s(self, next_tick: float) -> float:
        """Give how long there is nothing to do unless a descriptor says so."""
        return max(0.0, min(next_tick, self._stalled_at()) - self._clock())

    def _hear(self) -> bool:
        """Take what the broker says; tell whether it said anything."""
        words = self._broker.receive()
        self._settle(words)
        self._mind_alarms()
        return bool(words)

    def _publish(self) -> None:
        self._intake.hush()
        while len(self._in_flight) < self._max_in_flight and (group := self._intake.take(self._busy)) is not None:
            if not self._in_flight:
                self._progress = self._clock()
            try:
                tag = self._broker.publish(self._form([member.call for member in group.members]))
            except BaseException:
                _end(group, _LOST)
                raise
            self._in_flight[tag] = group
            self._busy[group.lane] += 1
            if self._watch is not None:
                self._watch.published(tag, len(group.members))

    def _settle(self, words: list[Settled]) -> None:
        for word in words:
            for tag in self._tags(word):
                group = self._in_flight.pop(tag, None)
                if group is None:
                    continue  # an unroutable message is confirmed too, after it came back
                if self._watch is not None:
                    self._watch.settled(tag)
                self._busy[group.lane] -= 1
                if not self._busy[group.lane]:
                    del self._busy[group.lane]
                _end(group, None if word.verdict is Verdict.CONFIRMED else word.verdict.value)
        if words:
            self._progress = self._clock()
        if any(word.verdict is Verdict.UNROUTABLE for word in words):
            raise BrokerUnavailable("a queue is missing; the next connection declares it")

    def _tags(self, word: Settled) -> list[int]:
        return list(takewhile(lambda tag: tag <= word.tag, self._in_flight)) if word.multiple else [word.tag]

    def _mind_alarms(self) -> None:
        if self._broker.blocked and self._intake.state is State.UP:
            log.warning("broker_blocked")
            self._intake.shut(State.BLOCKED, "the broker takes nothing now")
        elif not self._broker.blocked and self._intake.state is State.BLOCKED:
            log.info("broker_unblocked")
            self._progress = self._clock()
            self._intake.open()

    def _stalled_at(self) -> float:
        if not self._in_flight or self._broker.blocked:
            return float("inf")
        return self._progress + self._stall_s

    def _finished(self) -> bool:
        """Tell whether the intake is closed, and all that it took is settled or has had its time."""
        if self._intake.state is not State.CLOSED:
            return False
        now = self._clock()
        if self._closing_at is None:
            self._closing_at = now + self._stall_s
        return not (len(self._intake) or self._in_flight) or now >= self._closing_at

    def _fail_in_flight(self, reason: str) -> None:
        left = list(self._in_flight.values())
        self._in_flight.clear()
        self._busy.clear()
        for group in left:
            _end(group, reason)

    def _rest(self, backoff: float) -> float:
        """Wait before the next attempt, or until the intake is closed; give the wait after that."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._intake, selectors.EVENT_READ)
            # S311 is about secrets; this only keeps many processes from knocking at once.
            selector.select(backoff * random.uniform(0.5, 1.0))  # noqa: S311
        self._intake.hush()
        return min(backoff * 2, _LAST_BACKOFF_S)


def _end(group: Group, reason: str | None) -> None:
    for member in group.members:
        member.end(reason)
