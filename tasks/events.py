"""Events for Flower, sent by a thread and over a connection of their own, twice a second.

Celery sends them from whichever thread a task ran on, over a connection that the thread which takes tasks reads too.
py-amqp's connections bear one thread: two readers tear the stream of frames apart, and the worker hangs in a frame of
gigabytes until the broker hangs up, 20 to 30 s later.  Celery also has each confirmed: a broker that is short of memory
or disk confirms nothing, so the worker would stop draining the very queues that fill it.

Threads: any may put; the sender's thread takes.  A deque's append and popleft are atomic; a put that sees the outbox
full while it is being emptied drops an event too many, no more.  Events are for watching: what does not fit, or the
broker does not take, is dropped and counted.
"""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import structlog
from celery import Celery
from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher
from celery.events.event import Event, get_exchange, group_from
from celery.utils.time import utcoffset
from kombu import Connection
from kombu.exceptions import KombuError

import celeryconfig
from tasks import metrics

_EVERY_S = 0.5
_MOST_HELD = 20_000
_TIMEOUT_S = 2.0

log = structlog.get_logger()

_outbox: deque[tuple[str, dict[str, Any]]] = deque()


class Dispatcher(EventDispatcher):  # type: ignore[misc]
    """Where Celery's worker says what happens; refuses to touch its connection for that."""

    def send(self, type: str, blind: bool = False, **fields: Any) -> None:
        """Put an event into the outbox."""
        for publishing in ("retry", "retry_policy", "Event", "utcoffset"):
            fields.pop(publishing, None)
        group = group_from(type)
        if not self.enabled or (self.groups and group not in self.groups):
            return
        if len(_outbox) >= _MOST_HELD:
            metrics.EVENTS_DROPPED.inc()
            return
        clock = None if blind else self.clock.forward()
        event = Event(type, hostname=self.hostname, utcoffset=utcoffset(), pid=self.pid, clock=clock, **fields)
        _outbox.append(("task.multi" if group == "task" else type.replace("-", "."), event))


class Events(CeleryEvents):  # type: ignore[misc]
    """``app.events`` with our dispatcher."""

    dispatcher_cls = Dispatcher


class Sender(threading.Thread):
    """Empties the outbox until :meth:`stop`."""

    def __init__(self, app: Celery) -> None:
        super().__init__(name="events", daemon=True)
        self._app = app
        self._stopped = threading.Event()
        self._connection: Connection | None = None

    def stop(self) -> None:
        """Send what is held, and end."""
        self._stopped.set()
        self.join(2 * _TIMEOUT_S)

    def run(self) -> None:
        """Send twice a second."""
        while not self._stopped.wait(_EVERY_S):
            self._send()
        self._send()
        self._hang_up()

    def _send(self) -> None:
        events = [_outbox.popleft() for _ in range(len(_outbox))]
        try:
            for routing_key, body in _bodies(events):
                self._publish(routing_key, body)
        except (OSError, KombuError, AttributeError, *self._app.connection_for_write().connection_errors) as error:
            metrics.EVENTS_DROPPED.inc(len(events))
            log.warning("the broker does not take events", events=len(events), reason=repr(error))
            self._hang_up()

    def _publish(self, routing_key: str, body: object) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write(
                connect_timeout=_TIMEOUT_S, heartbeat=0, transport_options=_transport_options()
            )
        exchange = get_exchange(self._connection, name=self._app.conf.event_exchange)
        self._connection.Producer(exchange=exchange, serializer=self._app.conf.event_serializer).publish(
            body, routing_key=routing_key, declare=[exchange], delivery_mode=1, retry=False
        )

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=_TIMEOUT_S)


def _bodies(events: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, object]]:
    """Give what to publish: neighbouring task events as one list, all others each by itself."""
    for routing_key, group in groupby(events, key=lambda event: event[0]):
        bodies = [body for _, body in group]
        if routing_key == "task.multi":
            yield routing_key, bodies
        else:
            yield from ((routing_key, body) for body in bodies)


def _transport_options() -> dict[str, object]:
    if celeryconfig.settings.on_rabbitmq:
        return {"confirm_publish": False, "read_timeout": _TIMEOUT_S, "write_timeout": _TIMEOUT_S}
    return {**celeryconfig.broker_transport_options, "socket_timeout": _TIMEOUT_S}
