"""The bridge from native threads to the eventlet hub; the only file where the two meet.

eventlet's greenlets all run on one native thread, the hub's.  gRPC, the store and the broker block, so they live on
native threads of their own (nothing is monkey-patched: a patched lock would make gRPC hang; docs/findings in
docs/adr/0003).  Whatever they want of sessions they ask for here, and it runs on the hub's thread.

Interleavings, and why each is harmless:

1. *A caller times out while its call waits.*  ``Future.cancel`` and ``set_running_or_notify_cancel`` exclude each
   other: either the caller cancels and the hub skips the call, or the hub runs it and the caller waits for the result
   a moment longer, since what has begun on the hub cannot block.  So a call that is reported as timed out never ran.
2. *A call is queued while the hub drains.*  The hub first empties the wake-up pipe, then takes calls one by one, each
   under the lock, until it finds none.  A call queued before that is taken; one queued after finds the queue empty and
   writes to the pipe.  No wake-up is lost.
3. *The queue is full.*  The call is refused at once (gRPC says RESOURCE_EXHAUSTED); nothing waits without bound.
4. *The hub stops.*  ``close`` fails what waits, and later calls, instead of leaving their threads to their deadlines.
   Whatever has not begun is in the queue, also while the hub serves its sockets between two calls.
5. *A native lock held over a greenlet switch* would deadlock the hub's thread with itself.  The lock is held for list
   operations only, never while a call runs.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import eventlet
import structlog
from eventlet.hubs import trampoline

P = ParamSpec("P")
T = TypeVar("T")

_SLICE_S = 0.005  # after this long on queued calls the hub serves its sockets
_GRACE_S = 5.0  # a call that has begun cannot block: it ends well before this

log = structlog.get_logger()


class BridgeFull(Exception):
    """The hub is behind by as many calls as the queue holds, or is closed."""


class Bridge:
    """Calls from native threads, run in order on the hub's thread."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def __len__(self) -> int:
        return len(self._waiting)

    def call(self, timeout_s: float, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *run* on the hub's thread and give its result; from a native thread only.

        Raises BridgeFull at once when too much waits, TimeoutError when it has not begun within *timeout_s*, and
        whatever *run* raises.  *run* must not switch greenlets.
        """
        future: Future[T] = self._put(lambda: run(*args, **kwargs), bounded=True)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.cancel():
                raise
            return future.result(_GRACE_S)

    def post(self, run: Callable[[], object]) -> None:
        """Run *run* on the hub's thread, soon, or never if the node stops before that.

        For the node's own few threads, whose number is the bound.
        """
        try:
            self._put(run, bounded=False)
        except BridgeFull as error:
            log.debug("not run", reason=str(error))

    def serve(self) -> None:
        """Run what is asked for, until :meth:`close`; a greenlet of the hub's thread is kept by this."""
        while not self._closed:
            trampoline(self._wake_read, read=True)
            self._empty_pipe()
            began = time.monotonic()
            while (waiting := self._next()) is not None:
                _run(*waiting)
                if time.monotonic() - began > _SLICE_S:
                    eventlet.sleep(0)
                    began = time.monotonic()

    def close(self) -> None:
        """Refuse what waits and whatever comes."""
        with self._lock:
            self._closed = True
            calls, self._waiting = self._waiting, deque()
        for future, _ in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(BridgeFull("the node is stopping"))
        self._wake()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _put(self, run: Callable[[], T], *, bounded: bool) -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            if self._closed or (bounded and len(self._waiting) >= self._capacity):
                raise BridgeFull(f"{len(self._waiting)} calls wait for the hub")
            first = not self._waiting
            self._waiting.append((future, run))
        if first:
            self._wake()
        return future

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            return  # full of wake-ups already

    def _empty_pipe(self) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:  # noqa: PLR2004
                pass
        except BlockingIOError:
            return


def _run(future: "Future[Any]", run: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(run())
    except Exception as error:
        log.exception("a call on the hub failed", reason=repr(error))
        future.set_exception(error)
