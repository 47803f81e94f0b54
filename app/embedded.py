"""The embedded Valkey as a broker, through kombu's virtual transport: same queues, same deadlines, no confirms."""

from collections.abc import Mapping, Sequence
from typing import Any

import kombu
import redis
from kombu.exceptions import KombuError

from app.broker import IO_TIMEOUT_S, PERSISTENT, Settled, TaskMessage, Verdict, failing_as_one

_LOST = (OSError, redis.RedisError, KombuError)


class EmbeddedBroker:
    """A publish that returned counts as confirmed: Valkey has it in memory, and on its append-only file within 1 s."""

    def __init__(self, url: str, options: Mapping[str, Any], declare: Sequence[kombu.Queue]) -> None:
        self._address = kombu.Connection(
            url,
            transport_options={**options, "socket_timeout": IO_TIMEOUT_S, "socket_connect_timeout": IO_TIMEOUT_S},
        )
        self._declare = declare
        self._connection: Any = None
        self._channel: Any = None
        self._tag = 0
        self._settled: list[Settled] = []

    @property
    def blocked(self) -> bool:
        """See Broker: it never asks for a pause."""
        return False

    def open(self) -> None:
        """See Broker."""
        self._tag, self._settled = 0, []
        with failing_as_one(*_LOST):
            self._connection = self._address.transport.establish_connection()
            self._channel = self._address.transport.create_channel(self._connection)
            self._channel.client.ping()
            for queue in self._declare:
                queue.bind(self._channel).declare()

    def close(self) -> None:
        """See Broker."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            self._address.transport.close_connection(connection)

    def fileno(self) -> int | None:
        """See Broker."""
        return None

    def publish(self, message: TaskMessage) -> int:
        """See Broker; refuses a delay, which it would not keep."""
        if message.delay_s:
            raise ValueError("the embedded broker keeps nothing back")
        with failing_as_one(*_LOST):
            prepared = self._channel.prepare_message(
                message.body,
                content_type="application/json",
                content_encoding="utf-8",
                headers=dict(message.headers),
                properties={**message.properties, "delivery_mode": PERSISTENT},
            )
            # The nameless exchange goes straight to the queue: no binding to look up, none that can be missing.
            self._channel.basic_publish(prepared, exchange="", routing_key=message.queue)
        self._tag += 1
        self._settled.append(Settled(self._tag, False, Verdict.CONFIRMED))
        return self._tag

    def receive(self) -> list[Settled]:
        """See Broker."""
        settled, self._settled = self._settled, []
        return settled

    def tick(self) -> None:
        """See Broker."""
        with failing_as_one(*_LOST):
            self._channel.client.ping()
