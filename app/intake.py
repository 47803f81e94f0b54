"""Pushes on their way from request threads to the publishing thread, in lanes whose pushes may share a task.

Group commit: the first push of a lane goes at once; what arrives while its task is unconfirmed forms the next one.  No
timer, so a push that comes alone waits for nobody, and under load a task costs as little a push as its bounds allow.
What fills a whole task does not wait for the one before.

The rules by which threads meet are in app/commit.py.  Refuses to publish and to know who waits.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable, Container, Sequence
from enum import StrEnum
from typing import NamedTuple

from app.broker import Call
from proto import queues, task
from proto.errors import BrokerUnavailable

_MOST_BYTES = 64 * 1024 * 1024  # of what waits


class State(StrEnum):
    """Whether hand-overs are taken, and why not."""

    UP = "up"
    DOWN = "down"
    BLOCKED = "blocked"
    CLOSED = "closed"


_REFUSALS = {
    State.DOWN: "the broker cannot be reached",
    State.BLOCKED: "the broker takes nothing now: it is short of memory or disk",
    State.CLOSED: "this process is shutting down",
}


class HandOver:
    """One call, and how it ended; *notify* hears so, once, on the thread that ended it.

    Exactly one of the publishing thread (which then publishes it) and its request (which then gives it up) gets
    :meth:`claim`.
    """

    __slots__ = ("_claim", "_notify", "call", "ended", "reason")

    def __init__(self, call: Call, notify: "Callable[[HandOver], object]") -> None:
        self.call = call
        self.ended = False
        self.reason: str | None = None  # why it failed
        self._claim = threading.Lock()
        self._notify = notify

    def claim(self) -> bool:
        """Tell whether nobody had claimed it before."""
        return self._claim.acquire(blocking=False)

    def end(self, reason: str | None = None) -> None:
        """Note its end, the claim being ours: confirmed, or failed for *reason*."""
        self.reason = reason
        self.ended = True
        self._notify(self)

    def result(self) -> BrokerUnavailable | None:
        """Give what became of it, once it has ended: None if the broker has it."""
        return None if self.reason is None else BrokerUnavailable(self.reason)


class Lane(NamedTuple):
    """What the calls of one task have in common."""

    name: str
    queue: str
    delay_s: int


class Group(NamedTuple):
    """Hand-overs that share a task; all claimed."""

    lane: Lane
    members: Sequence[HandOver]


class _Waiting:
    """What waits in one lane, and its bytes."""

    __slots__ = ("handovers", "size")

    def __init__(self) -> None:
        self.handovers: deque[HandOver] = deque()
        self.size = 0

    def put(self, handover: HandOver) -> None:
        self.handovers.append(handover)
        self.size += len(handover.call.argument)

    def take(self) -> HandOver:
        handover = self.handovers.popleft()
        self.size -= len(handover.call.argument)
        return handover

    def fills_a_task(self) -> bool:
        return len(self.handovers) >= task.MOST_PUSHES or self.size >= task.MOST_BYTES


class Intake:
    """A bounded queue of hand-overs that is open only while the broker is up.

    Guarantee: what :meth:`put` accepted is either taken by the publishing thread or failed, exactly once.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._lanes: dict[Lane, _Waiting] = {}  # none empty
        self._count = 0
        self._size = 0
        self._state = State.DOWN
        self._woken = False
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)

    @property
    def state(self) -> State:
        """The state now; it may change at any time."""
        return self._state

    def __len__(self) -> int:
        return self._count

    def fileno(self) -> int:
        """Give the descriptor that is readable after :meth:`put` or :meth:`wake`."""
        return self._ear.fileno()

    def check(self) -> None:
        """Raise BrokerUnavailable if :meth:`put` would, for the state that it is in now."""
        if (state := self._state) is not State.UP:
            raise BrokerUnavailable(_REFUSALS[state])

    def put(self, handovers: Sequence[HandOver]) -> None:
        """Take *handovers*, in their order, or none of them and raise BrokerUnavailable at once."""
        with self._lock:
            self.check()
            if self._count + len(handovers) > self._bound or self._size > _MOST_BYTES:
                raise BrokerUnavailable(f"{self._count} pushes wait for the broker already")
            for handover in handovers:
                call = handover.call
                lane = Lane(call.name, call.queue, call.delay_s)
                waiting = self._lanes.get(lane)
                if waiting is None:
                    waiting = self._lanes[lane] = _Waiting()
                waiting.put(handover)
                self._size += len(call.argument)
            self._count += len(handovers)
            self._ring()

    def hush(self) -> None:
        """Empty the bell: what was put before is to be found by :meth:`take`."""
        with self._lock:
            if self._woken:
                self._woken = False
                self._ear.recv(1)

    def take(self, busy: Container[Lane]) -> Group | None:
        """Give the next group, most urgent first, oldest first; pushes of a *busy* lane only if they fill a task."""
        with self._lock:
            for lane in sorted(self._lanes, key=_urgency) if len(self._lanes) > 1 else tuple(self._lanes):
                waiting = self._lanes[lane]
                if lane in busy and lane.name == queues.PUSH_TASK and not waiting.fills_a_task():
                    continue
                if members := self._take_from(lane, waiting):
                    return Group(lane, members)
            return None

    def wake(self) -> None:
        """Make :meth:`fileno` readable."""
        with self._lock:
            self._ring()

    def open(self) -> None:
        """The broker is up: take hand-overs, unless closed."""
        with self._lock:
            if self._state is not State.CLOSED:
                self._state = State.UP

    def shut(self, state: State, reason: str) -> None:
        """Stop taking, and fail what waits; a closed intake stays closed."""
        with self._lock:
            if self._state is not State.CLOSED:
                self._state = state
            lanes, self._lanes, self._count, self._size = self._lanes, {}, 0, 0
        for waiting in lanes.values():
            for handover in waiting.handovers:
                if handover.claim():
                    handover.end(reason)

    def close(self) -> None:
        """Stop taking for good; what waits is still to be published."""
        with self._lock:
            self._state = State.CLOSED
            self._ring()

    def _take_from(self, lane: Lane, waiting: _Waiting) -> list[HandOver]:
        """Take as many as one task holds; one that is too large for any goes alone."""
        members: list[HandOver] = []
        room = task.MOST_BYTES
        most = task.MOST_PUSHES if lane.name == queues.PUSH_TASK else 1
        while waiting.handovers and len(members) < most:
            size = len(waiting.handovers[0].call.argument)
            if members and size > room:
                break
            handover = waiting.take()
            self._count -= 1
            self._size -= size
            if handover.claim():  # else its request has given up
                members.append(handover)
                room -= size
        if not waiting.handovers:
            del self._lanes[lane]
        return members

    def _ring(self) -> None:
        if not self._woken:
            self._woken = True
            self._bell.send(b"!")


_URGENCIES = {priority.queue: rank for rank, priority in enumerate(queues.Priority)}


def _urgency(lane: Lane) -> int:
    return _URGENCIES.get(lane.queue, len(_URGENCIES))
