"""The bridge from native threads to the eventlet hub; the only file where the two meet.

eventlet's greenlets all run on one native thread, the hub's.  gRPC, the store and the broker block, so they live on
native threads of their own (nothing is monkey-patched: a patched lock would make gRPC hang; docs/findings in
docs/adr/0003).  Whatever they want of sessions they ask for here, and it runs on the hub's thread.

The hub takes what waits in *runs* of a few milliseconds, or of as many bytes as may be written to a session at once.
What the calls of a run write is gathered and goes to the sockets in one flush at its end; only then are the calls
answered.  What comes while a flush is under way waits in the queue and joins the next run, so a run grows with the
load, and a call that comes alone waits for nobody.

*Urgent* calls have a lane of their own, with the same bound, and runs of their own before and after each run of the
others, which ends at its next step when an urgent call comes.  It takes one step at least, so the others get on
whatever is urgent.

Interleavings, and why each is harmless:

1. *A caller times out while its call waits.*  ``Future.cancel`` and ``set_running_or_notify_cancel`` exclude each
   other: either the caller cancels and the hub skips the call, or the hub runs it and the caller waits for the result,
   until the run is flushed.  So a call that is reported as timed out never ran.
2. *A call is queued while the hub drains.*  The hub first empties the wake-up pipe, then takes calls one by one, each
   under the lock, until it finds none.  A call queued before that is taken; one queued after finds the queue empty and
   writes to the pipe.  No wake-up is lost.
3. *The queue is full.*  The call is refused at once (gRPC says RESOURCE_EXHAUSTED); nothing waits without bound.
4. *The hub stops.*  ``close`` fails what waits, and later calls, instead of leaving their threads to their deadlines.
   Whatever has not begun is in the queue, also while the hub serves its sockets between two runs.  What has begun,
   a long call between two of its steps too, is finished and answered.
5. *A native lock held over a greenlet switch* would deadlock the hub's thread with itself.  The lock is held for list
   operations only, never while a call runs or a flush is under way.
6. *Other greenlets run during a flush* and in the pause between two runs.  They see a call done or not begun, or a
   long one between two of its steps; only urgent calls run meanwhile, so calls keep their order among their equals.
7. *The flush fails.*  The calls of the run did run, so they are not reported as timed out but fail with its error.
8. *An urgent call runs between two steps of a long one*, or before calls that came earlier.  Ephemeral pushes promise
   no order; a durable one has its offset, by which sessions get it in order whatever comes first (durable.py).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from types import GeneratorType
from typing import Any, ParamSpec, Protocol, TypeVar

import eventlet
import structlog
from eventlet.hubs import trampoline

P = ParamSpec("P")
T = TypeVar("T")

_SLICE_S = 0.005  # after this long on queued calls the hub serves its sockets
_GRACE_S = 15.0  # a call that has begun cannot block: its run, its flush and its later steps end well before this

log = structlog.get_logger()


class BridgeFull(Exception):
    """The hub is behind by as many calls as the queue holds, or is closed."""


class Writes(Protocol):
    """Gathers what the calls of a run write; on the hub's thread."""

    @property
    def full(self) -> bool:
        """Whether so much is gathered that the run should end."""

    def begin(self) -> None:
        """Gather writes from now on."""

    def flush(self) -> None:
        """Write what was gathered; may serve other greenlets meanwhile."""


class _NothingGathered:
    """For calls that write nothing, or at once."""

    full = False

    def begin(self) -> None:
        """See Writes."""

    def flush(self) -> None:
        """See Writes."""


class Bridge:
    """Calls from native threads, run in order on the hub's thread."""

    def __init__(self, capacity: int, writes: Writes | None = None) -> None:
        self._capacity = capacity
        self._writes = writes or _NothingGathered()
        self._lock = threading.Lock()
        self._urgent, self._others = _Lane(), _Lane()
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def __len__(self) -> int:
        return len(self._urgent.waiting) + len(self._others.waiting)

    def call(self, timeout_s: float, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *run* on the hub's thread and give its result; from a native thread only.

        Raises BridgeFull at once when too much waits, TimeoutError when it has not begun within *timeout_s*, and
        whatever *run* raises.  *run* must not switch greenlets.
        """
        future: Future[T] = self._put(partial(run, *args, **kwargs), bounded=True)
        return self._wait(timeout_s, future=future)

    def begin_in_steps(
        self, run: Callable[[], Generator[None, None, T]], *, urgent: bool = False
    ) -> Callable[[float], T]:
        """Queue what may take long: the hub may serve its sockets at each ``yield``.

        Raises BridgeFull at once.  Gives a function that waits: its argument and what it raises are those of
        :meth:`call`.
        """
        future: Future[T] = self._put(run, bounded=True, urgent=urgent)
        return partial(self._wait, future=future)

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
            self._run_all()
            while self._urgent or self._others:
                eventlet.sleep(0)
                self._run_all()

    def close(self) -> None:
        """Refuse what waits and whatever comes."""
        with self._lock:
            self._closed = True
            calls = [*self._urgent.waiting, *self._others.waiting]
            self._urgent.waiting.clear()
            self._others.waiting.clear()
        for future, _ in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(BridgeFull("the node is stopping"))
        self._wake()

    def _wait(self, timeout_s: float, *, future: "Future[T]") -> T:
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.cancel():
                raise
            return future.result(_GRACE_S)

    def _run_all(self) -> None:
        self._one_run(self._urgent)
        self._one_run(self._others)
        self._one_run(self._urgent)

    def _one_run(self, lane: "_Lane") -> None:
        """Run what waits in a lane, for one slice, first what has begun there; flush; answer."""
        call = lane.begun or self._next(lane)
        if call is None:
            return
        until = time.monotonic() + _SLICE_S
        writes, urgent = self._writes, self._urgent.waiting

        def is_over() -> bool:
            return writes.full or time.monotonic() > until or (bool(urgent) and lane is self._others)

        done: list[_Call] = []
        writes.begin()
        while call is not None and call.finished(is_over):
            done.append(call)
            call = None if is_over() else self._next(lane)
        lane.begun = call
        error = self._flushed()
        for it in done:
            it.answer(error)

    def _flushed(self) -> Exception | None:
        try:
            self._writes.flush()
        except Exception as error:
            log.exception("what was gathered could not be written", reason=repr(error))
            return error
        return None

    def _next(self, lane: "_Lane") -> "_Call | None":
        while True:
            with self._lock:
                if not lane.waiting:
                    return None
                future, run = lane.waiting.popleft()
            if future.set_running_or_notify_cancel():
                return _Call(future, run)

    def _put(self, run: Callable[[], Any], *, bounded: bool, urgent: bool = False) -> "Future[Any]":
        future: Future[Any] = Future()
        waiting = (self._urgent if urgent else self._others).waiting
        with self._lock:
            if self._closed or (bounded and len(waiting) >= self._capacity):
                raise BridgeFull(f"{len(waiting)} calls wait for the hub")
            first = not waiting
            waiting.append((future, run))
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


class _Lane:
    """Calls that keep their order: those that wait, and the one that has begun and is not finished."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.begun: _Call | None = None

    def __bool__(self) -> bool:
        return bool(self.waiting) or self.begun is not None


class _Call:
    """A call that has begun, and what it came to."""

    __slots__ = ("_error", "_future", "_result", "_run", "_steps")

    def __init__(self, future: "Future[Any]", run: Callable[[], Any]) -> None:
        self._future = future
        self._run = run
        self._steps: GeneratorType[None, None, Any] | None = None
        self._result: Any = None
        self._error: Exception | None = None

    def finished(self, is_over: Callable[[], bool]) -> bool:
        """Run it, or the steps that are left of it; False when the run is over before its end."""
        try:
            if self._steps is None:
                self._result = self._run()
                if not isinstance(self._result, GeneratorType):
                    return True
                self._steps = self._result
            while True:
                next(self._steps)
                if is_over():
                    return False
        except StopIteration as end:
            self._result = end.value
        except Exception as error:
            log.exception("a call on the hub failed", reason=repr(error))
            self._error = error
        return True

    def answer(self, failed: Exception | None) -> None:
        """Give the result to who asked."""
        error = self._error or failed
        if error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(error)
