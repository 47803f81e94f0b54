"""How long the runs of the bridge take to write, and one push of each run to look at when one took long.

Stands between the transport and those who hand pushes to sessions.  A run's flush is shared by all of its pushes: the
latest is the example.  Refuses to time runs that hand nothing over.  The hub's thread only.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cloud_node import metrics
from cloud_node.bridge import Writes
from cloud_node.hub import Session
from cloud_node.wire.recipients import Recipients


class Transport(Writes, Protocol):
    """What is timed; see wire/transport.py."""

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int: ...  # noqa: D102
    def backlog(self, session: Session) -> int: ...  # noqa: D102


class TimedWrites:
    """A transport whose flushes are timed."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._latest: object = None  # what was handed over last in this run
        self.backlog = transport.backlog

    @property
    def full(self) -> bool:
        """See bridge.Writes."""
        return self._transport.full

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        """See wire/transport.py."""
        self._latest = data
        return self._transport.emit(recipients, event, data, ack_id)

    def begin(self) -> None:
        """See bridge.Writes."""
        self._latest = None
        self._transport.begin()

    def flush(self) -> None:
        """See bridge.Writes."""
        latest: Any = self._latest
        began = self._clock()
        self._transport.flush()
        if latest is not None:
            push_id = latest.get("push_id", "") if isinstance(latest, Mapping) else ""
            metrics.observe(metrics.FLUSH_SECONDS, self._clock() - began, push_id)
