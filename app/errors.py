"""Failures that only the logic tier has; those that cross a boundary are in proto/errors.py."""

from collections.abc import Mapping

from proto.errors import CloudpushError, FieldProblem
from proto.queues import Priority


class NoNode(CloudpushError):
    """No node could take a browser now."""

    retryable = True


class RequestIdReused(CloudpushError):
    """The request_id names another call, which asked for something else."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id!r} was sent with another body in the last 24 hours")


class RequestUnderWay(CloudpushError):
    """The same call is being served, and did not end in time."""

    retryable = True

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the call with request_id {request_id!r} is still under way: send it again")


class TooManyWaiting(CloudpushError):
    """As many requests wait for receipts, or for the same call to end, as may."""

    retryable = True


class Overloaded(CloudpushError):
    """Too much waits already for a push of this priority; in *retry_after_s* whole seconds it may not be so."""

    retryable = True

    def __init__(self, priority: Priority, retry_after_s: int) -> None:
        self.priority = priority
        self.retry_after_s = retry_after_s
        super().__init__(f"too much waits already for pushes of priority {priority.value}")


class NothingToCancel(CloudpushError):
    """Every key of the push is past cancelling; .problems says how each ended."""

    def __init__(self, push_id: str, states: Mapping[str, str]) -> None:
        self.problems = tuple(FieldProblem(key, f"is {state}") for key, state in states.items())
        super().__init__(f"nothing of {push_id} could be cancelled any more")
