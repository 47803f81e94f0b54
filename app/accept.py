"""The promise behind a 202: the broker has confirmed the task, so the push will be dispatched or end with a name.

Refuses to validate (app/requests.py), to write to the store (app/promise.py does, before), and to promise what could
not be kept: with the store down, a push whose keys would have to be looked up is refused; one with an explicit `server`
needs no look-up and flows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson
import structlog

from app.broker import TaskMessage
from app.metrics import Metrics
from proto import queues
from proto.errors import StoreUnavailable
from proto.message import Push

log = structlog.get_logger(__name__)

# Celery's own as_task_v2, which gives headers, properties, body and an event that we do not send.
FormTask = Callable[..., tuple[dict[str, Any], dict[str, Any], Any, Any]]


class Commits(Protocol):
    """Where tasks go."""

    def check(self) -> None:
        """Raise BrokerUnavailable if a commit would be refused at once."""

    def commit(self, message: TaskMessage, timeout_s: float) -> None:
        """Return when *message* is confirmed; raise BrokerUnavailable otherwise."""


class Acceptor:
    """Turns an accepted call into a confirmed task."""

    def __init__(
        self,
        committer: Commits,
        form_task: FormTask,
        *,
        store_is_up: Callable[[], bool],
        confirm_deadline_s: float,
        metrics: Metrics,
    ) -> None:
        self._committer = committer
        self._form_task = form_task
        self._store_is_up = store_is_up
        self._confirm_deadline_s = confirm_deadline_s
        self._metrics = metrics

    def accept(self, push: Push, *, delay_s: int = 0) -> None:
        """Return when *push* is safe with the broker, which keeps it back for *delay_s* seconds.

        Raises StoreUnavailable, BrokerUnavailable: nothing promised.
        """
        if push.server is None:
            self._check_store()
        began = time.perf_counter()
        task = self._task(
            push.push_id,
            queues.PUSH_TASK,
            push.priority.queue,
            args=[push.to_payload()],
            # Flower shows this; the body is the caller's business.
            shown=f"({push.push_id}, {len(push.keys)} keys, op {push.message.op})",
        )
        self._committer.commit(replace(task, delay_s=delay_s) if delay_s else task, self._confirm_deadline_s)
        self._metrics.accept_seconds.observe(time.perf_counter() - began)
        self.count(push)

    def check(self) -> None:
        """Raise StoreUnavailable or BrokerUnavailable if it is known that a push cannot be both recorded and sent."""
        self._check_store()
        self._committer.check()

    def count(self, push: Push) -> None:
        """Note that *push* was promised."""
        self._metrics.accepted.labels(push.priority.value).inc()
        if push.durable:
            self._metrics.durable.inc()
        log.info("push_accepted", push_id=push.push_id, keys=len(push.keys), priority=push.priority.value)

    def disconnect(self, task_id: str, keys: Sequence[str]) -> None:
        """Have every session of *keys* closed; raises as :meth:`accept` does."""
        self._check_store()
        self._committer.commit(
            self._task(
                task_id,
                queues.DISCONNECT_TASK,
                queues.Priority.HIGH.queue,
                kwargs={"keys": list(keys)},
                shown=f"({task_id}, {len(keys)} keys)",
            ),
            self._confirm_deadline_s,
        )
        log.info("disconnect_accepted", task_id=task_id, keys=len(keys))

    def _check_store(self) -> None:
        if not self._store_is_up():
            raise StoreUnavailable("the store does not answer, so the keys cannot be looked up")

    def _task(
        self,
        task_id: str,
        name: str,
        queue: str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        shown: str,
    ) -> TaskMessage:
        """Form a Celery protocol-2 message.  No `expires`: a worker would drop it without recording an ending."""
        headers, properties, body, _ = self._form_task(
            task_id=task_id,
            name=name,
            args=args,
            kwargs=kwargs or {},
            argsrepr=shown,
            kwargsrepr="{}",
            ignore_result=True,
        )
        return TaskMessage(task_id, queue, headers, properties, orjson.dumps(body))
