"""Unary calls to nodes: a deadline a call, statuses turned into our errors.

For what goes over no stream: disconnects, and pushes to nodes that serve none (those of the original im-cloud).
Refuses to decide what to send and whether to try again.  Threads: :class:`Doubts` is the only thing that changes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from tasks.dispatch import address_of
from tasks.link_doubts import Doubts
from tasks.link_parcel import UNSENT, Parcel, read_reply, too_large

_MOST_BYTES = 4 * 1024 * 1024  # what gRPC takes in one message
_AT_ONCE = 100  # calls to one node, for one call of push_all

GetCall = Callable[[str, str], Any]  # address, method: the stub's


class Calls:
    """Calls methods of nodes.  A reply is a message or a NodeError."""

    def __init__(
        self, get_call: GetCall, doubts: Doubts, *, deadline_s: float, metadata: Sequence[tuple[str, str]]
    ) -> None:
        self._get_call = get_call
        self._doubts = doubts
        self._deadline_s = deadline_s
        self._metadata = metadata

    def each(self, method: str, requests: Mapping[str, Any]) -> dict[str, Any]:
        """Call every node at the same time; gives its reply."""
        if len(requests) == 1:  # a future would cost a hand-over to another thread
            return {node: self._call(node, method, request) for node, request in requests.items()}
        futures = {node: self._call(node, method, request, later=True) for node, request in requests.items()}
        return {node: self._settled(node, future) for node, future in futures.items()}

    def begin(self, node: str, method: str, requests: Sequence[Any], timeout_s: float) -> list[Any]:
        """Begin a call of one node for each request; :meth:`end` gives the replies."""
        return [self._call(node, method, request, later=True, timeout_s=timeout_s) for request in requests]

    def end(self, node: str, begun: Sequence[Any]) -> list[Any]:
        """Wait for calls that were begun."""
        return [self._settled(node, future) for future in begun]

    def _call(
        self, node: str, method: str, request: Any, *, later: bool = False, timeout_s: float | None = None
    ) -> Any:
        if (size := request.ByteSize()) > _MOST_BYTES:
            return too_large(node, size)
        address = address_of(node)
        if not self._doubts.may_ask(address):
            return NodeUnreachable(node, "did not answer a moment ago")
        try:
            call = self._get_call(address, method)
            way = call.future if later else call
            timeout_s = self._deadline_s if timeout_s is None else max(0.0, timeout_s)
            answer = way(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._translated(node, error)
        except ValueError as error:  # the channel was closed under us
            return NodeUnreachable(node, str(error))
        if not later:
            self._doubts.told(address)
        return answer

    def _settled(self, node: str, future: Any) -> Any:
        if isinstance(future, NodeError):
            return future
        try:
            reply = future.result()
        except grpc.FutureCancelledError:
            return NodeUnreachable(node, "the call was cancelled")
        except grpc.RpcError as error:
            return self._translated(node, error)
        self._doubts.told(address_of(node))
        return reply

    def _translated(self, node: str, error: Any) -> NodeError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._doubts.late(address_of(node))
            return NodeUnreachable(node, f"no answer within {self._deadline_s} s")
        self._doubts.told(address_of(node))  # whatever it is, nobody waits for it
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            return NodeUnreachable(node, f"{code.name}: {details}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return NodeBusy(node, f"{details}")
        return NodeRefused(node, f"{code.name}: {details}")


class Singly:
    """What of a parcel has no answer, as one call for each push, some at a time; the first of them begin at once."""

    def __init__(self, calls: Calls, parcel: Parcel, left_s: Callable[[], float]) -> None:
        self._calls = calls
        self._parcel = parcel
        self._left_s = left_s
        self._numbers = parcel.unanswered()
        self._begun = self._begin()

    def finish(self) -> None:
        """Read the answers and call for the rest, while there is time."""
        node, items = self._parcel.node, self._parcel.items
        while self._begun:
            replies = self._calls.end(node, self._begun)
            for number, reply in zip(self._numbers, replies, strict=False):
                given = isinstance(reply, NodeError)
                self._parcel.answers[number] = reply if given else read_reply(node, items[number][1], reply)
            self._numbers = self._numbers[len(replies) :]
            self._begun = self._begin() if self._left_s() > 0 else []
        self._parcel.fail(UNSENT)

    def _begin(self) -> list[Any]:
        items = [self._parcel.items[number] for number in self._numbers[:_AT_ONCE]]
        requests = [push.to_request(keys) for push, keys in items]
        return self._calls.begin(self._parcel.node, "PushMsg", requests, self._left_s())
