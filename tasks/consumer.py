"""What a worker takes from its queues: tasks.  Anything else is rejected by name, and so ends among the dead letters.

Celery's own consumer acknowledges a body that it cannot decode, which is to lose it, and ends the whole worker over a
body that is JSON and no task: the next worker gets it, and ends too.  Refuses to log bodies.
"""

from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import KombuError

from tasks import metrics

log = structlog.get_logger()


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's consumer behind a gate; ``worker_consumer`` in celeryconfig.py names it."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Wrap Celery's handler; runs anew with each connection."""
        handle = super().create_task_handler(*args, **kwargs)
        outages = (*self.connection_errors, *self.channel_errors)

        def gate(message: Any) -> None:
            if (flaw := flaw_of(message, self.app.tasks)) is not None:
                self._reject(message, flaw)
                return
            try:
                handle(message)
            except outages:
                raise
            except (ValueError, TypeError, LookupError, AttributeError) as error:  # Celery tripped over its headers
                self._reject(message, repr(error))

        return gate

    def _reject(self, message: Any, flaw: str) -> None:
        metrics.DEAD_LETTERS.labels("no_task").inc()
        log.error("dead letter", reason="no_task", details=flaw, task_id=str(message.headers.get("id", "")))
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


def flaw_of(message: Any, tasks: Any) -> str | None:
    """Say why *message* is no task for this worker; None for one that is.  Pure, but that the message is decoded."""
    name = message.headers.get("task")
    if not isinstance(name, str) or name not in tasks:
        return f"no task of ours: {str(name)[:80]!r}"
    try:
        payload = message.payload  # Celery needs it decoded too, and finds it so
    except (KombuError, ValueError, LookupError) as error:
        return f"the body cannot be decoded: {type(error).__name__}"
    match payload:
        case [list(), dict(), dict() | None]:
            return None
    return "the body is not [args, kwargs, embed]"
