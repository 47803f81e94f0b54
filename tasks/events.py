"""Task events for Flower, sent in batches beside the tasks instead of in front of them.

With the threads pool Celery publishes each event at once, on a connection in confirm mode: three waits for the broker a
task, two of them before the task begins.  Here they are buffered, as Celery itself does under its asynchronous loop,
and a timer sends them twice a second.
"""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events

_FLUSH_EVERY_S = 0.5
_AT_MOST = 1_000  # events held; the thread that adds one more sends them


class BufferedTaskEvents(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of Celery's consumer: after each (re)connection it makes the new event dispatcher buffer task events."""

    requires = (Events,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Begin to buffer."""
        dispatcher = consumer.event_dispatcher
        dispatcher.buffer_group = frozenset({"task"})
        dispatcher.buffer_limit = _AT_MOST
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
