"""Task events for Flower, sent twice a second instead of after every turn of the worker's loop.

Celery flushes its buffer of events whenever the loop turns: at light load once a task, each time waiting for a confirm
of the broker on the thread that takes tasks.  That was a third of the worker's CPU time.
"""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events

_FLUSH_EVERY_S = 0.5
_AT_MOST = 1_000  # events held; the thread that adds one more sends them


class BufferedTaskEvents(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of Celery's consumer: after each (re)connection it lets a timer flush the new event dispatcher."""

    requires = (Events,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Begin to buffer."""
        dispatcher = consumer.event_dispatcher
        dispatcher.buffer_group = frozenset({"task"})
        dispatcher.buffer_limit = _AT_MOST
        dispatcher.on_send_buffered = None
        self._timer = consumer.timer.call_repeatedly(_FLUSH_EVERY_S, _flush, (dispatcher,))

    def stop(self, consumer: Any) -> None:
        """Send what is held, as far as the connection allows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            _flush(consumer.event_dispatcher)


def _flush(dispatcher: Any) -> None:
    if dispatcher is not None and dispatcher.enabled:
        dispatcher.flush()
