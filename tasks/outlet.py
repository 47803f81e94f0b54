"""A producer of one thread's own, over a connection of its own, with confirms.

py-amqp's connections bear one thread (ADR 7), so a thread that publishes beside the tasks has its own.  Opened when it
is first needed, hung up after any failure: a late confirm would be taken for the next publish's.  Refuses to retry.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.exceptions import KombuError

import celeryconfig
from proto.errors import BrokerUnavailable
from tasks.requeue import PUBLISH_DEADLINE_S


class Outlet:
    """Not thread-safe: that is its point."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Connection | None = None
        self._producer: Any = None

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Give the producer; whatever the broker does not take within its deadlines raises BrokerUnavailable."""
        try:
            yield self._opened()
        except self._lost() as error:
            self.close()
            raise BrokerUnavailable(f"the broker does not take it: {error!r}") from error

    def close(self) -> None:
        """Hang up; the next use connects anew."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect(socket_timeout=PUBLISH_DEADLINE_S)

    @property
    def connection(self) -> Connection:
        """The connection, opened; raises what it raises when that fails: use it inside :meth:`open`."""
        self._opened()
        return self._connection

    def _opened(self) -> Any:
        if self._producer is None:
            self._connection = self._app.connection_for_write(
                connect_timeout=PUBLISH_DEADLINE_S, heartbeat=0, transport_options=_transport_options()
            )
            self._connection.connect()  # the way round this, by the channel, is to try for ever
            self._producer = self._connection.Producer()
        return self._producer

    def _lost(self) -> tuple[type[BaseException], ...]:
        # py-amqp lets an AttributeError out when a connection closes under a call.
        address = self._app.connection_for_write()
        return (OSError, KombuError, AttributeError, *address.connection_errors, *address.channel_errors)


def _transport_options() -> dict[str, object]:
    if celeryconfig.settings.on_rabbitmq:
        deadlines = {"read_timeout": PUBLISH_DEADLINE_S, "write_timeout": PUBLISH_DEADLINE_S}
        return {**celeryconfig.broker_transport_options, **deadlines}
    deadlines = {"socket_timeout": PUBLISH_DEADLINE_S, "socket_connect_timeout": PUBLISH_DEADLINE_S}
    return {**celeryconfig.broker_transport_options, **deadlines}
