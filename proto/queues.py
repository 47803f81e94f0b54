"""Names on the broker: one exchange, one queue a priority, one queue of dead letters, the tasks.

They are a wire like any other: workers declare them, web processes and nodes publish to them.
"""

from enum import StrEnum

EXCHANGE = "cloudpush"
DEAD_EXCHANGE = "cloudpush.dead"
DEAD_QUEUE = "cloudpush.dead"

PUSH_TASK = "cloudpush.push"
DISCONNECT_TASK = "cloudpush.disconnect"


class Priority(StrEnum):
    """How urgent a push is; each has a queue of its own, since quorum queues know no priorities."""

    HIGH = "high"
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def queue(self) -> str:
        """The queue, and routing key, for this priority."""
        return f"{EXCHANGE}.{self.value}"
