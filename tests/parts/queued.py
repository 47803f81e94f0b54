"""What waits on the broker's queues, where no worker takes it."""

import time
from typing import Any

import kombu
import orjson
from amqp.exceptions import AMQPError

from proto.queues import Priority
from tests.parts.process import until

_ELECTED_S = 30.0


def take(url: str, queue: str = Priority.NORMAL.queue) -> list[dict[str, Any]]:
    """Take all push tasks from a queue; gives the pushes in them, oldest first."""
    payloads: list[dict[str, Any]] = []

    def took() -> bool:
        try:
            _take(url, queue, payloads)
        except (AMQPError, OSError):  # a quorum queue has no leader for a moment after a restart
            return False
        return True

    until(took, _ELECTED_S, f"an answer from {queue}")
    return payloads


def _take(url: str, queue: str, payloads: list[dict[str, Any]]) -> None:
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue)) is not None:
            payloads.extend(orjson.loads(message.body)[0])
            channel.basic_ack(message.delivery_tag)


def wait(url: str, timeout_s: float, queue: str = Priority.NORMAL.queue) -> tuple[list[dict[str, Any]], float]:
    """Wait for tasks; gives them, and the Unix time at which they were there."""
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found.extend(take(url, queue))
        return bool(found)

    until(came, timeout_s, f"a task on {queue}")
    return found, time.time()


def delete(url: str, queue: str) -> None:
    """Delete a queue."""
    with kombu.Connection(url) as connection:
        connection.channel().queue_delete(queue)
