"""RabbitMQ as a broker: one AMQP connection, publisher confirms, every message mandatory.

A task with a delay waits on the broker, in the queues of kombu's native delayed delivery, which Celery's workers
declare and use for later attempts as well (docs/adr/0005): one for each power of two seconds, so whole seconds only.
"""

import select
import ssl
from collections.abc import Sequence
from typing import Any

import amqp
import amqp.spec
import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError
from kombu.transport import native_delayed_delivery as delayed

from app.broker import IO_TIMEOUT_S, PERSISTENT, Settled, TaskMessage, Verdict, failing_as_one
from proto import queues
from proto.errors import BrokerUnavailable

HEARTBEAT_S = 10
_FRAMES_A_TURN = 1000
_DELAY_EXCHANGE = delayed.level_name(delayed.MAX_LEVEL)
# py-amqp lets an AttributeError out when a connection closes under a call (it says so in kombu/transport/pyamqp.py).
_LOST = (OSError, AMQPError, KombuError, AttributeError)


class RabbitBroker:
    """One AMQP connection with one channel in confirm mode.

    py-amqp sets TCP_USER_TIMEOUT to 1 s; with the socket's own timeout a stopped broker costs the thread at most 1 s.
    """

    def __init__(self, url: str, declare: Sequence[kombu.Queue], delay_queue_type: str = "quorum") -> None:
        self._declare = declare
        self._delay_queue_type = delay_queue_type
        self._blocked = False
        self._settled: list[Settled] = []
        self._tag = 0
        self._amqp: Any = None
        self._channel: Any = None
        self._poll = select.poll()
        self._address = kombu.Connection(
            url,
            heartbeat=HEARTBEAT_S,
            connect_timeout=IO_TIMEOUT_S,
            transport_options={
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "client_properties": {"connection_name": "cloudpush logic"},
            },
        )

    @property
    def blocked(self) -> bool:
        """See Broker."""
        return self._blocked

    def open(self) -> None:
        """See Broker."""
        self._blocked, self._tag, self._settled = False, 0, []
        try:
            with failing_as_one(*_LOST):
                self._amqp = self._address.transport.establish_connection()
                self._amqp.sock.settimeout(IO_TIMEOUT_S)
                self._channel = self._amqp.channel()
                for queue in self._declare:
                    queue.bind(self._channel).declare()
                self._declare_delays()
                self._channel.confirm_select()
                self._channel.events["basic_ack"].add(self._on_ack)
                self._channel.events["basic_nack"].add(self._on_nack)
                self._channel.events["basic_return"].add(self._on_return)
                self._poll = select.poll()
                self._poll.register(self._amqp.sock, select.POLLIN)
        except BrokerUnavailable:
            self._address.maybe_switch_next()  # the URL may name several brokers
            raise

    def close(self) -> None:
        """See Broker."""
        connection, self._amqp, self._channel = self._amqp, None, None
        if connection is not None and connection.connected:
            try:
                connection.close()
            except (OSError, AMQPError, AttributeError):
                connection.collect()  # it was dead already, which is what we wanted

    def fileno(self) -> int | None:
        """See Broker."""
        return int(self._amqp.sock.fileno())

    def publish(self, message: TaskMessage) -> int:
        """See Broker."""
        tag = self._tag + 1
        content = amqp.Message(
            message.body,
            application_headers=dict(message.headers),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=PERSISTENT,
            message_id=str(tag),  # comes back with an unroutable message
            **message.properties,
        )
        exchange, key = queues.EXCHANGE, message.queue
        if message.delay_s:
            exchange, key = _DELAY_EXCHANGE, delayed.calculate_routing_key(message.delay_s, key)
        with failing_as_one(*_LOST):
            # Channel.basic_publish would read first, with timeout 0, and spins there on half a frame.
            self._channel.send_method(amqp.spec.Basic.Publish, "Bssbb", (0, exchange, key, True, False), content)
        self._tag = tag
        return tag

    def receive(self) -> list[Settled]:
        """See Broker."""
        with failing_as_one(*_LOST):
            for _ in range(_FRAMES_A_TURN):
                if not self._readable():
                    break
                self._amqp.blocking_read()
        settled, self._settled = self._settled, []
        return settled

    def tick(self) -> None:
        """See Broker."""
        with failing_as_one(*_LOST):
            self._amqp.heartbeat_tick()

    def _declare_delays(self) -> None:
        """Do as Celery's worker does when it starts (celery/worker/consumer/delayed_delivery.py)."""
        same_channel = _Channels(self._channel)
        delayed.declare_native_delayed_delivery_exchanges_and_queues(same_channel, self._delay_queue_type)
        for queue in self._declare:
            if queue.exchange.type == "topic":
                delayed.bind_queue_to_native_delayed_delivery_exchange(same_channel, queue)

    def _readable(self) -> bool:
        sock = self._amqp.sock
        return bool((isinstance(sock, ssl.SSLSocket) and sock.pending()) or self._poll.poll(0))

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settled.append(Settled(tag, multiple, Verdict.CONFIRMED))

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._settled.append(Settled(tag, multiple, Verdict.NACKED))

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: amqp.Message) -> None:
        # Comes before the ack of the same message, which then finds nobody waiting.
        self._settled.append(Settled(int(message.properties["message_id"]), False, Verdict.UNROUTABLE))

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False


class _Channels:
    """What kombu's declarations take for a connection; they would open a channel for each queue, and close none."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def channel(self) -> Any:
        """Give the one channel."""
        return self._channel
