"""A broker that does what the test says, and the committer over it: threads are real, the wire is not."""

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from app.broker import Call, Settled, TaskMessage, Verdict
from app.commit import Committer
from app.intake import Intake, State
from app.publisher import Publisher
from proto.errors import BrokerUnavailable
from tests.parts.process import until

LONG_S = 10.0


def a_call(call_id: str = "t", name: str = "alone", queue: str = "q", argument: bytes = b"", delay_s: int = 0) -> Call:
    return Call(call_id, name, queue, argument, "", delay_s)


def task_of(calls: Sequence[Call]) -> TaskMessage:
    return TaskMessage("+".join(each.call_id for each in calls), calls[0].queue, {}, {}, b"")


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
        self.ring()

    def lose(self) -> None:
        self._words.put(None)
        self.ring()

    def ring(self) -> None:
        self._bell.send(b"!")

    def alarm(self, on: bool) -> None:
        self.blocked = on
        self.say(0)

    def _hush(self) -> None:
        with suppress(BlockingIOError):  # the bell rings after the word is there, so none is missed
            self._ear.recv(65_536)

    def next(self) -> tuple[int, str]:
        return self.published.get(timeout=LONG_S)


@dataclass
class Rig:
    broker: Scripted
    committer: Committer
    publisher: Publisher
    intake: Intake
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    @property
    def waiting(self) -> int:
        """How many calls are handed over and not published."""
        return len(self.intake)

    def is_(self, state: State) -> None:
        until(lambda: self.committer.state is state, LONG_S, f"the committer to be {state}")

    def begin(self, task_id: str = "t", timeout_s: float = LONG_S, **of: Any) -> Callable[[], None]:
        """Commit on another thread; the result waits for its end and raises what it raised."""
        future = self.pool.submit(self.committer.commit, a_call(task_id, **of), timeout_s)
        return lambda: future.result(LONG_S)


@contextmanager
def committing(*, bound: int = 8, stall_s: float = LONG_S, max_in_flight: int = 8) -> Iterator[Rig]:
    broker, intake = Scripted(), Intake(bound)
    publisher = Publisher(broker, intake, task_of, stall_s=stall_s, max_in_flight=max_in_flight)
    rig = Rig(broker, Committer(intake, publisher), publisher, intake)
    rig.committer.start()
    try:
        rig.is_(State.UP)
        yield rig
    finally:
        broker.lose()
        rig.committer.close(LONG_S)
        rig.pool.shutdown()
        assert not publisher.is_alive()
