"""The thread that owns the broker connection: publishes what requests handed over, and settles it by the confirms.

Waits on two things at once, the intake's bell and the broker's socket.  Read app/commit.py first: it lists how the
threads may meet.  Refuses to promise anything: a hand-over ends with the broker's word or with BrokerUnavailable.
"""

import random
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile

import structlog

from app.broker import Broker, Settled, Verdict
from app.commit import HandOver, Intake, State
from proto.errors import BrokerUnavailable

_TICK_S = 1.0
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 1.0
_BATCH = 64

log = structlog.get_logger(__name__)


class Publisher(threading.Thread):
    """See the module.  *stall_s* is how long the broker may leave everything in flight unanswered."""

    def __init__(
        self,
        broker: Broker,
        intake: Intake,
        *,
        stall_s: float,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="publisher", daemon=True)
        self._broker = broker
        self._intake = intake
        self._stall_s = stall_s
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._taken: deque[HandOver] = deque()  # out of the intake, not yet published
        self._in_flight: dict[int, HandOver] = {}  # by tag, oldest first; emptied with the connection
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
            reason, began = "the connection to the broker was lost", self._clock()
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
            while not self._finished():
                selector.select(self._idle_s(next_tick))
                self._hear()  # an alarm, perhaps: then nothing more is published
                self._publish()
                self._hear()  # the embedded broker confirms at once
                now = self._clock()
                if now >= next_tick:
                    self._broker.tick()
                    next_tick = now + _TICK_S
                if now >= self._stalled_at():
                    raise BrokerUnavailable(f"the broker settled nothing for {self._stall_s} s")

    def _idle_s(self, next_tick: float) -> float:
        """Give how long there is nothing to do unless a descriptor says so."""
        if len(self._intake) and len(self._in_flight) < self._max_in_flight:
            return 0.0  # a confirm has made room for what waits
        return max(0.0, min(next_tick, self._stalled_at()) - self._clock())

    def _hear(self) -> None:
        self._settle(self._broker.receive())
        self._mind_alarms()

    def _publish(self) -> None:
        room = min(_BATCH, self._max_in_flight - len(self._in_flight))
        self._taken.extend(self._intake.take(room))
        while self._taken:
            handover = self._taken[0]
            if handover.future.set_running_or_notify_cancel():
                if not self._in_flight:
                    self._progress = self._clock()
                self._in_flight[self._broker.publish(handover.message)] = handover
            self._taken.popleft()

    def _settle(self, words: list[Settled]) -> None:
        for word in words:
            for tag in self._tags(word):
                handover = self._in_flight.pop(tag, None)
                if handover is None:
                    continue  # an unroutable message is confirmed too, after it came back
                if word.verdict is Verdict.CONFIRMED:
                    handover.future.set_result(None)
                else:
                    handover.fail(word.verdict.value)
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
        left = [*self._in_flight.values(), *self._taken]
        self._in_flight.clear()
        self._taken.clear()
        for handover in left:
            handover.fail(reason)

    def _rest(self, backoff: float) -> float:
        """Wait before the next attempt, or until the intake is closed; give the wait after that."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._intake, selectors.EVENT_READ)
            # S311 is about secrets; this only keeps many processes from knocking at once.
            selector.select(backoff * random.uniform(0.5, 1.0))  # noqa: S311
        self._intake.take(0)
        return min(backoff * 2, _LAST_BACKOFF_S)
