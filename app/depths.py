"""How many tasks wait in each queue, asked of the broker over a connection of its own, by one thread.

What a worker has taken and not finished does not count: that is bounded by the worker itself.  Refuses to declare:
the publishing thread does, and a queue that is missing is a broker that cannot be seen.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import amqp
import kombu
import redis
from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from app.broker import IO_TIMEOUT_S, failing_as_one
from proto.errors import BrokerUnavailable
from proto.queues import Priority

# py-amqp lets an AttributeError out when a connection closes under a call.
_LOST = (OSError, AMQPError, KombuError, AttributeError)


class Depths(Protocol):
    """What both brokers give.  Not thread-safe."""

    def read(self) -> dict[Priority, int]:
        """Ask, connecting if need be; raises BrokerUnavailable, after which the next call connects anew."""

    def close(self) -> None:
        """Hang up; never raises."""


class RabbitDepths:
    """Declares each queue passively: a quorum queue's leader then tells how many messages are ready."""

    def __init__(self, url: str) -> None:
        self._address = kombu.Connection(
            url,
            heartbeat=0,  # a look every moment shows as well whether it lives
            connect_timeout=IO_TIMEOUT_S,
            transport_options={
                "read_timeout": IO_TIMEOUT_S,
                "write_timeout": IO_TIMEOUT_S,
                "client_properties": {"connection_name": "cloudpush logic, backlog"},
            },
        )
        self._amqp: amqp.Connection | None = None
        self._channel: Any = None

    def read(self) -> dict[Priority, int]:
        """See Depths."""
        try:
            with failing_as_one(*_LOST):
                if self._amqp is None:
                    self._amqp = self._address.transport.establish_connection()
                    self._channel = self._amqp.channel()
                return {
                    priority: int(self._channel.queue_declare(priority.queue, passive=True).message_count)
                    for priority in Priority
                }
        except BrokerUnavailable:
            self.close()
            self._address.maybe_switch_next()  # the URL may name several brokers
            raise

    def close(self) -> None:
        """See Depths."""
        connection, self._amqp, self._channel = self._amqp, None, None
        if connection is not None:
            connection.collect()  # without a goodbye, which a stopped broker would not answer


class EmbeddedDepths:
    """Counts the lists that kombu's queues are; what workers hold is in another place."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._address = kombu.Connection(
            url,
            transport_options={**options, "socket_timeout": IO_TIMEOUT_S, "socket_connect_timeout": IO_TIMEOUT_S},
        )
        self._connection: Any = None
        self._client: Any = None

    def read(self) -> dict[Priority, int]:
        """See Depths."""
        try:
            with failing_as_one(*_LOST, redis.RedisError):
                if self._connection is None:
                    self._connection = self._address.transport.establish_connection()
                    self._client = self._address.transport.create_channel(self._connection).client
                return {priority: int(self._client.llen(priority.queue)) for priority in Priority}
        except BrokerUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """See Depths."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            self._address.transport.close_connection(connection)
