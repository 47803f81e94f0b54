"""Requests share confirmed tasks: the hand-over between request threads and the publishing thread.

A request thread hands its push over and waits for *its own* confirm until its deadline.  One native thread a process
(app/publisher.py) owns the broker connection, makes tasks of what has been handed over (app/intake.py says of what) and
keeps many of them in flight.  Between them is the bounded `Intake`.

A hand-over goes through waiting → in flight → settled, and each step happens under one rule:

- ``Intake.put`` checks "is the broker up?" and appends under one lock; ``Intake.shut`` says "down" and takes out what
  waits under the same lock.  So nothing is put where nobody looks.
- Whoever gets ``HandOver.claim`` decides: the publishing thread, which then publishes and ends it, or its request,
  which then gives it up.  A task's members are claimed one by one, so one that has given up leaves the others alone.

The interleavings, and how each ends:

1. *The request gives up while its push still waits.*  It gets the claim; the thread sees that and never publishes it.
   503, and nothing is left behind.
2. *The request gives up while its task is in flight.*  The claim is gone; the caller gets 503.  The confirm may still
   come: it ends a hand-over that nobody reads, under a tag that stays taken until then, so that it is never mistaken
   for another's.  The push may be delivered although the caller was told 503: nothing was promised, and 503 says
   "retry".
3. *The confirm arrives while the request gives up.*  The claim is gone and the hand-over has ended: the answer is how,
   so 202.
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
10. *A push comes while the task before it is confirmed.*  ``put`` rings the bell, and the thread looks at the intake
   after each confirm too: whichever comes second finds the push.
11. *Fork.*  Threads do not survive a fork, so a child would wait for nobody: a commit in another process than the one
   that started the thread is refused at once.

Refuses to retry (the caller decides) and to look into what is handed over.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from app.broker import Call
from app.intake import HandOver, Intake, State
from proto.errors import BrokerUnavailable


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

    @property
    def waiting(self) -> int:
        """How many pushes wait to share the next task."""
        return len(self._intake)

    def start(self) -> None:
        """Start the publishing thread in this process."""
        self._pid = os.getpid()
        self._publishing.start()

    def check(self) -> None:
        """Raise BrokerUnavailable if a commit would be refused at once."""
        self._intake.check()

    def commit(self, call: Call, timeout_s: float) -> None:
        """Return when the broker has confirmed *call*; raise BrokerUnavailable when it has not in *timeout_s*."""
        (error,) = self.commit_all([call], timeout_s)
        if error is not None:
            raise error

    def begin(self, handovers: Sequence[HandOver]) -> None:
        """Take *handovers*, which hear how they end: at once, if they cannot be taken."""
        try:
            self._check_process()
            self._intake.put(handovers)
        except BrokerUnavailable as error:
            for handover in handovers:
                if handover.claim():
                    handover.end(str(error))

    def commit_all(self, calls: Sequence[Call], timeout_s: float) -> list[BrokerUnavailable | None]:
        """Wait for all *calls*, *timeout_s* together; gives for each what kept it from being confirmed, if anything.

        Raises BrokerUnavailable when none of them was taken.
        """
        self._check_process()
        confirms = [_Confirm(call) for call in calls]
        self._intake.put([confirm.handover for confirm in confirms])
        until = time.monotonic() + timeout_s
        return [
            confirm.result() if confirm.await_until(until) else BrokerUnavailable(_LATE.format(timeout_s))
            for confirm in confirms
        ]

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and wait until what was taken is confirmed or failed."""
        self._intake.close()
        self._publishing.join(timeout_s)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise BrokerUnavailable("this process has no publishing thread: it was forked after the start, or before")


_LATE = "the broker did not confirm within {} s"


class _Confirm:
    """One hand-over that a thread waits for: a lock is the cheapest thing to wait on, and is let go once."""

    __slots__ = ("_open", "handover")

    def __init__(self, call: Call) -> None:
        self._open = threading.Lock()
        self._open.acquire()  # held until the end
        self.handover = HandOver(call, self._let_go)

    def await_until(self, until: float) -> bool:
        """Wait for its end; False when it has been given up instead."""
        if self._open.acquire(timeout=max(0.0, until - time.monotonic())):
            return True
        return not self.handover.claim() and self.handover.ended

    def result(self) -> BrokerUnavailable | None:
        return self.handover.result()

    def _let_go(self, _: HandOver) -> None:
        self._open.release()
