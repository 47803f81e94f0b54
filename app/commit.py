"""Requests share one confirmed publish each: the hand-over between request threads and the publishing thread.

A request thread hands a task over and waits for *its own* confirm until its deadline.  One native thread a process
(app/publisher.py) owns the broker connection and keeps many tasks in flight.  Between them is the bounded `Intake`.

A hand-over goes through waiting → in flight → settled, and each step happens under one rule:

- ``Intake.put`` checks "is the broker up?" and appends under one lock; ``Intake.shut`` says "down" and takes out what
  waits under the same lock.  So nothing is put where nobody looks.
- Only the publishing thread moves a hand-over from waiting to in flight, by ``Future.set_running_or_notify_cancel``.

The interleavings, and how each ends:

1. *The request gives up while its task still waits.*  ``Future.cancel`` succeeds; the thread sees that and never
   publishes.  503, and nothing is left behind.
2. *The request gives up while its task is in flight.*  ``cancel`` fails; the caller gets 503.  The confirm may still
   come: it settles a future nobody reads, under a tag that stays taken until then, so that it is never mistaken for
   another's.  The push may be delivered although the caller was told 503: nothing was promised, and 503 says "retry".
3. *The confirm arrives while the request gives up.*  ``cancel`` fails and the future is done: the answer is what the
   future holds, so 202.
4. *The connection dies between publish and confirm.*  All in flight fail at once with BrokerUnavailable, as in 2; tags
   start again at 1 on the next connection with an empty table, so no old confirm can reach it.
5. *The connection dies while tasks wait.*  They fail at once; from then on ``put`` refuses at once, until a new
   connection is open.
6. *The broker stops answering but the connection stands* (SIGSTOP, network gone).  Requests end at their deadline;
   when nothing was settled for that long, the thread hangs up, and 4 and 5 apply.
7. *The broker asks for a pause* (memory or disk alarm).  ``put`` refuses at once, what waits fails, what is in flight
   keeps its deadline; the connection stays, since a new one would not be told of the alarm before it publishes.
8. *A queue was deleted.*  The message comes back as unroutable: 503, and the thread connects anew, which declares the
   queues; 4 and 5 apply.
9. *Shutdown with requests waiting.*  ``put`` refuses; what waits is published, and confirms are awaited for one more
   deadline; then the rest fails.  Nothing is dropped without its request hearing so.
10. *Fork.*  Threads do not survive a fork, so a child would wait for nobody: a commit in another process than the one
   that started the thread is refused at once.

Refuses to retry (the caller decides) and to look into the task.
"""

import os
import socket
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.broker import TaskMessage
from proto.errors import BrokerUnavailable


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


@dataclass(slots=True)
class HandOver:
    """One task and the future that its request waits on; its result is None, its exception BrokerUnavailable."""

    message: TaskMessage
    future: "Future[None]" = field(default_factory=Future)

    def fail(self, reason: str) -> None:
        """End it in failure, whatever state it is in, if it has not ended."""
        if self.future.running() or self.future.set_running_or_notify_cancel():
            self.future.set_exception(BrokerUnavailable(reason))


class Intake:
    """A bounded queue of hand-overs that is open only while the broker is up.

    Guarantee: what :meth:`put` accepted is either taken by the publishing thread or failed, exactly once.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._waiting: deque[HandOver] = deque()
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
        return len(self._waiting)

    def fileno(self) -> int:
        """Give the descriptor that is readable after :meth:`put` or :meth:`wake`."""
        return self._ear.fileno()

    def check(self) -> None:
        """Raise BrokerUnavailable if :meth:`put` would, for the state that it is in now."""
        if (state := self._state) is not State.UP:
            raise BrokerUnavailable(_REFUSALS[state])

    def put(self, handover: HandOver) -> None:
        """Take *handover*, or raise BrokerUnavailable at once."""
        with self._lock:
            self.check()
            if len(self._waiting) >= self._bound:
                raise BrokerUnavailable(f"{self._bound} pushes wait for the broker already")
            self._waiting.append(handover)
            self._ring()

    def take(self, limit: int) -> list[HandOver]:
        """Give up to *limit* hand-overs, oldest first; empties the bell."""
        with self._lock:
            if self._woken:
                self._woken = False
                self._ear.recv(1)
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            if self._waiting and limit > 0:
                self._ring()
            return taken

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
            waiting, self._waiting = self._waiting, deque()
        for handover in waiting:
            handover.fail(reason)

    def close(self) -> None:
        """Stop taking for good; what waits is still to be published."""
        with self._lock:
            self._state = State.CLOSED
            self._ring()

    def _ring(self) -> None:
        if not self._woken:
            self._woken = True
            self._bell.send(b"!")


class Publishing(Protocol):
    """The thread behind the intake, as the committer sees it."""

    def start(self) -> None:
        """Begin; returns before the broker is reached."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""


class Committer:
    """What a request sees: `commit` returns once the broker has confirmed the task."""

    def __init__(self, intake: Intake, publishing: Publishing) -> None:
        self._intake = intake
        self._publishing = publishing
        self._pid = 0

    @property
    def state(self) -> State:
        """Whether a commit can succeed now."""
        return self._intake.state

    def start(self) -> None:
        """Start the publishing thread in this process."""
        self._pid = os.getpid()
        self._publishing.start()

    def check(self) -> None:
        """Raise BrokerUnavailable if a commit would be refused at once."""
        self._intake.check()

    def commit(self, message: TaskMessage, timeout_s: float) -> None:
        """Return when the broker has confirmed *message*; raise BrokerUnavailable when it has not in *timeout_s*."""
        if self._pid != os.getpid():
            raise BrokerUnavailable("this process has no publishing thread: it was forked after the start, or before")
        handover = HandOver(message)
        self._intake.put(handover)
        try:
            handover.future.result(timeout_s)
        except TimeoutError:
            if handover.future.cancel() or not handover.future.done():
                raise BrokerUnavailable(f"the broker did not confirm within {timeout_s} s") from None
            handover.future.result()

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and wait until what was taken is confirmed or failed."""
        self._intake.close()
        self._publishing.join(timeout_s)
