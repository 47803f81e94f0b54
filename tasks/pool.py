"""The worker's threads, which take what is urgent first.

A worker has taken more tasks from its queues than it has threads.  Celery's own pool of threads runs them in the order
in which they came, so one of high priority would wait for all of bulk that was taken before it.  Here each thread takes
the most urgent task that waits; among equals, the one that came first.  And a thread is kept free of bulk, another of
anything but high priority, as far as there are so many: what waits for a slow node then keeps nobody else waiting.

Bounded by what the worker takes from its queues (``worker_prefetch_multiplier``), and by tasks that a worker holds
until they are due.  Refuses to time tasks out, and to end them: they have deadlines of their own.

Threads: Celery's puts, the pool's take; all under one lock.  A thread that ends a task looks again before it sleeps,
and a put wakes one that sleeps, so no task waits that a free thread may run: an ending frees one place, and its own
thread takes it.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from celery.concurrency.base import BasePool, apply_target

from proto.queues import Priority

_RANKS = {Priority.HIGH.value: 0, Priority.NORMAL.value: 1, Priority.BULK.value: 2}

Job = Callable[[], None]

log = structlog.get_logger()


class TaskPool(BasePool):  # type: ignore[misc]
    """``worker_pool`` in celeryconfig.py names it."""

    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        count = self.limit or 1
        self._most = tuple(max(1, count - rank) for rank in range(len(_RANKS)))  # threads for a rank and those below
        self._waiting: tuple[deque[Job], ...] = tuple(deque() for _ in _RANKS)
        self._running = [0] * len(_RANKS)
        self._changed = threading.Condition(threading.Lock())
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"task-{number}", daemon=True) for number in range(count)
        ]

    def on_start(self) -> None:
        """See BasePool."""
        for thread in self._threads:
            thread.start()

    def on_stop(self) -> None:
        """End once what runs has ended; what waits goes back to its queue with the connection."""
        self.on_terminate()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        super().on_stop()

    def on_terminate(self) -> None:
        """Begin nothing more; what runs goes back to its queue too, unless it ends before the process does."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> None:
        """See BasePool."""
        with self._changed:
            if self._stopped:
                return
            self._waiting[rank_of(args or ())].append(
                lambda: apply_target(target, args, kwargs, callback, accept_callback)
            )
            self._changed.notify()

    def _work(self) -> None:
        rank: int | None = None
        while (taken := self._next(rank)) is not None:
            rank, job = taken
            try:
                job()
            except BaseException:  # Celery asks a worker to end by such, too; it has its own ways to hear of it
                log.exception("a task got past its own handlers")
            del job, taken  # or an idle thread would keep the last task's pushes

    def _next(self, ended: int | None) -> tuple[int, Job] | None:
        """Wait for a job; *ended* is the rank of the one that this thread has just ended.  None: no more."""
        with self._changed:
            if ended is not None:
                self._running[ended] -= 1
            while not self._stopped:
                for rank, waiting in enumerate(self._waiting):
                    if waiting and sum(self._running[rank:]) < self._most[rank]:
                        self._running[rank] += 1
                        return rank, waiting.popleft()
                self._changed.wait()
            return None

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), "threads": len(self._threads)}


def rank_of(args: tuple[Any, ...]) -> int:
    """Tell how urgent a task is by the queue it came through: 0 most.  *args* are those of Celery's trace function."""
    try:
        routing_key = args[2]["delivery_info"]["routing_key"]
    except (LookupError, TypeError):
        return _RANKS[Priority.NORMAL.value]
    # What the broker delayed has its delay before the queue's name.
    return _RANKS.get(str(routing_key).rpartition(".")[2], _RANKS[Priority.NORMAL.value])
