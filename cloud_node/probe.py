"""The data-path heartbeat: the node pushes itself a message through broker, worker, directory and gRPC.

A process that answers health checks can still be deaf to pushes (python-socketio issue 1581: for hours).  So what is
reported as health is not that the process lives but how old the last probe was that came all the way round.

Threads: a native thread sends; the hub's thread notes arrivals.  They share numbers that each side only overwrites.
"""

import threading
import time
from collections.abc import Callable

import kombu
import structlog

from proto import keys as key_names
from proto import queues, task
from proto.message import RAW_OP, Message, Push

_CONNECT_S = 2.0

log = structlog.get_logger()


class Probe:
    """One node's probe.  *every_s* apart; stale after three went missing.

    *on_first* is called when the first one has come back.  *now_ms* is the store's time, by which workers see that a
    probe is over: by a wall clock that is behind, each would be, and the node would seem deaf.
    """

    def __init__(
        self,
        broker_url: str,
        address: str,
        every_s: float,
        new_id: Callable[[], str],
        on_first: Callable[[], None],
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._broker_url = broker_url
        self._every_s = every_s
        self._new_id = new_id
        self._on_first = on_first
        self._now_ms = now_ms
        self.key = key_names.probe_key(address)
        self._stop = threading.Event()
        self._came_back: float | None = None  # when the last probe that came back was sent, monotonic
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    @property
    def age_ms(self) -> int | None:
        """How long ago the newest probe was sent that came back, in ms; None when none has."""
        return None if self._came_back is None else int((time.monotonic() - self._came_back) * 1000)

    @property
    def fresh(self) -> bool:
        """Tell whether the data path works, as of the last three probes."""
        age_ms = self.age_ms
        return age_ms is not None and age_ms < (3 * self._every_s + _CONNECT_S) * 1000

    def arrived(self, message: Message) -> None:
        """Take note of a probe that came back; an older or foreign one changes nothing."""
        try:
            sent = float(message.body)
        except ValueError:
            return
        if sent <= time.monotonic() and (self._came_back is None or sent > self._came_back):
            first, self._came_back = self._came_back is None, sent
            if first:
                self._on_first()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join(_CONNECT_S + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._send_until_stopped()
            except Exception as error:  # noqa: BLE001 (without this thread the node could not know that it is deaf)
                log.warning("the broker does not take probes", reason=repr(error))
            # Until the first one is back every moment counts: the node is not ready.
            self._stop.wait(self._every_s if self._came_back else min(1.0, self._every_s))

    def _send_until_stopped(self) -> None:
        options = {"socket_timeout": _CONNECT_S, "socket_connect_timeout": _CONNECT_S}
        if self._broker_url.startswith(("amqp", "pyamqp")):
            options = {"read_timeout": _CONNECT_S, "write_timeout": _CONNECT_S}
        with kombu.Connection(
            self._broker_url, connect_timeout=_CONNECT_S, heartbeat=0, transport_options=options
        ) as connection:
            connection.ensure_connection(max_retries=1, errback=None)
            exchange = kombu.Exchange(queues.EXCHANGE, type="topic", durable=True)
            with connection.Producer(exchange=exchange, serializer="json", auto_declare=True) as producer:
                while not self._stop.is_set():
                    self._send(producer)
                    self._stop.wait(self._every_s if self._came_back else min(1.0, self._every_s))

    def _send(self, producer: "kombu.Producer") -> None:
        push_id = self._new_id()
        now_ms = self._now_ms()
        push = Push(
            push_id=push_id,
            keys=(self.key,),
            message=Message(RAW_OP, repr(time.monotonic()).encode()),
            priority=queues.Priority.HIGH,  # shows that the path works, not how long the normal queue is
            accepted_ms=now_ms,
            expires_ms=now_ms + int(2 * self._every_s * 1000),
        )
        body, headers = task.message(queues.PUSH_TASK, push_id, [push.to_payload()], "(a node's probe)")
        producer.publish(
            body,
            headers=headers,
            routing_key=push.priority.queue,
            correlation_id=push_id,
            delivery_mode=1,
            retry=False,
        )
