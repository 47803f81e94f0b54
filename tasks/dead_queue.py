"""The queue of dead letters, oldest first, on either broker.

Guarantee, whatever happens in between, a kill -9 too: a letter that was not dropped is still there, and in its place.

- RabbitMQ: what is looked at is taken without an acknowledgement, and goes back to the front, in its order, when the
  channel closes, in whatever way.  Until then another who looks sees only what is behind it.
- the embedded broker: letters are read where they are, and taken out by value.

Refuses to know what a letter says.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kombu import Connection

import celeryconfig
from proto import queues

_PAGE = 100
# Where RabbitMQ limits deliveries by itself (from 4.0 on), it counts looks too.
_MANY_LOOKS = 10
_LIMITS_FROM = 4


@dataclass(slots=True)
class Found:
    """One letter as it is on the broker."""

    headers: Mapping[str, Any]
    body: str | bytes
    handle: Any
    dropped: bool = False


class DeadQueue(Protocol):
    """What both brokers give."""

    def count(self) -> int:
        """Tell how many letters there are."""

    def look(self, limit: int) -> Iterator[Found]:
        """Give up to *limit* letters, oldest first."""

    def drop(self, found: Found) -> None:
        """Take a letter out for good."""

    def warning(self) -> str:
        """Tell what is to be done lest letters be lost; "" when nothing is."""


def dead_queue(connection: Connection) -> DeadQueue:
    """Open the queue, which is declared if it is not there."""
    channel = connection.channel()
    celeryconfig.dead_queue(channel).declare()
    return OnRabbit(connection, channel) if celeryconfig.settings.on_rabbitmq else OnValkey(channel)


class OnRabbit:
    """See DeadQueue."""

    def __init__(self, connection: Connection, channel: Any) -> None:
        self._channel = channel
        self._version = str(connection.connection.server_properties.get("version", ""))
        self._looks = 0

    def count(self) -> int:
        """See DeadQueue."""
        return int(self._channel.queue_declare(queues.DEAD_QUEUE, passive=True).message_count)

    def look(self, limit: int) -> Iterator[Found]:
        """See DeadQueue."""
        for _ in range(min(limit, self.count())):  # what dies again meanwhile is not looked at again
            message = self._channel.basic_get(queues.DEAD_QUEUE)
            if message is None:
                return
            headers = message.headers or {}
            self._looks = max(self._looks, int(headers.get("x-delivery-count", 0)))
            yield Found(headers, message.body, message.delivery_tag)

    def drop(self, found: Found) -> None:
        """See DeadQueue."""
        self._channel.basic_ack(found.handle)
        found.dropped = True

    def warning(self) -> str:
        """See DeadQueue."""
        major = self._version.partition(".")[0]
        if self._looks < _MANY_LOOKS or not major.isdigit() or int(major) < _LIMITS_FROM:
            return ""
        return (
            f"letters have been looked at {self._looks} times; RabbitMQ {major} drops them after 20, unless you say "
            f"rabbitmqctl set_policy dead-letters '^{queues.DEAD_QUEUE}$' "
            "'{\"delivery-limit\": -1}' --apply-to queues"
        )


class OnValkey:
    """See DeadQueue.  The queue is a list; the newest is at its left end."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._client = channel.client

    def count(self) -> int:
        """See DeadQueue."""
        return int(self._client.llen(queues.DEAD_QUEUE))

    def look(self, limit: int) -> Iterator[Found]:
        """See DeadQueue."""
        left, kept = min(limit, self.count()), 0
        while left > 0:
            page = self._client.lrange(queues.DEAD_QUEUE, -(kept + min(left, _PAGE)), -(kept + 1))
            if not page:
                return
            for raw in reversed(page):
                found = self._found(raw)
                yield found
                left -= 1
                kept += not found.dropped

    def drop(self, found: Found) -> None:
        """See DeadQueue."""
        self._client.lrem(queues.DEAD_QUEUE, -1, found.handle)
        found.dropped = True

    def warning(self) -> str:
        """See DeadQueue."""
        return ""

    def _found(self, raw: bytes) -> Found:
        try:
            message = self._channel.Message(json.loads(raw), channel=self._channel)
        except (ValueError, LookupError, TypeError, AttributeError):  # nothing that kombu wrote
            return Found({}, raw, raw)
        return Found(message.headers or {}, message.body, raw)
