"""What the committing thread asks of a broker; app/rabbit.py and app/embedded.py are the two that exist.

Both fail in one way, :class:`proto.errors.BrokerUnavailable`; after that the connection is worth nothing and is closed.
Owned by one thread (app/publisher.py).  Refuses to retry and to know who waits.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from proto.errors import BrokerUnavailable

IO_TIMEOUT_S = 1.0
PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Call:
    """What a request wants done: the task *name*, on *queue*, with one positional *argument*, which is JSON.

    *call_id* becomes the id of the task if it is its first; Flower shows *shown* in place of the argument.
    """

    call_id: str
    name: str
    queue: str
    argument: bytes
    shown: str
    delay_s: int = 0


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A Celery task as it goes on the wire; *queue* is also its routing key.

    RabbitMQ keeps it back for *delay_s* seconds; the embedded broker is given none with a delay (app/promise.py).
    """

    task_id: str
    queue: str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes
    delay_s: int = 0


class Verdict(StrEnum):
    """What the broker said about a message."""

    CONFIRMED = "confirmed"
    NACKED = "the broker refused the message"
    UNROUTABLE = "no queue takes the message"


@dataclass(frozen=True, slots=True)
class Settled:
    """The broker's word on delivery *tag*, or with *multiple* on all that it had left open up to it."""

    tag: int
    multiple: bool
    verdict: Verdict


class Broker(Protocol):
    """A connection to publish on.  Every method may raise BrokerUnavailable and returns within a few seconds."""

    @property
    def blocked(self) -> bool:
        """Tell whether the broker asked for a pause (it is short of memory or disk)."""

    def open(self) -> None:
        """Connect, and declare every queue that we publish to, so that a push needs no worker to be safe."""

    def close(self) -> None:
        """Hang up; never raises."""

    def fileno(self) -> int | None:
        """Give the descriptor that becomes readable when there is something to receive; None: there never is."""

    def publish(self, message: TaskMessage) -> int:
        """Send; answers a tag, one more than the last on this connection."""

    def receive(self) -> list[Settled]:
        """Take what the broker said since, without waiting."""

    def tick(self) -> None:
        """Called about once a second: heartbeats."""


@contextmanager
def failing_as_one(*errors: type[Exception]) -> Iterator[None]:
    """Turn *errors* into BrokerUnavailable, whose text is for logs."""
    try:
        yield
    except errors as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error
