"""gRPC to the cloud nodes: one channel a node, a deadline a call, statuses turned into our errors.

Refuses to decide what to send and whether to try again.

Threads: tasks on all worker threads share one :class:`Nodes`.  A lock guards the table of channels and is never held
over a call; gRPC channels are thread-safe themselves.  A node that let a deadline pass is *suspect* for a moment:
calls to it fail at once.  Then one call finds out how it is while the others go on failing, until that call has its
answer.  So a hung node costs the other nodes' pushes one thread, not all of them.  (Two threads that see the moment end
at once both find out; that costs one thread more.)
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from proto import cloud_pb2, cloud_pb2_grpc
from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from proto.message import KeyOutcome, Push, outcomes_from_reply
from tasks.dispatch import Plan, address_of

_MAX_CHANNELS = 1024
_SUSPECT_S = 1.0
_MOST_BYTES = 4 * 1024 * 1024  # what gRPC takes in one message; it would say "exhausted", as if time could mend that
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 0),  # retrying is tasks/retry.py's
)


class Nodes:
    """Calls nodes by the name of their incarnation."""

    def __init__(self, *, deadline_s: float, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s = deadline_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: OrderedDict[str, Any] = OrderedDict()
        self._suspect_until: dict[str, float] = {}

    def push(self, plan: Plan, push: Push) -> dict[str, Mapping[str, KeyOutcome] | NodeError]:
        """Send *push* to every node of *plan* at the same time; every node gets an entry in the result."""
        requests = {node: push.to_request(keys) for node, keys in plan.sends.items()}
        replies = self._call_all("PushMsg", requests)
        return {node: _outcomes(node, reply, plan.sends[node]) for node, reply in replies.items()}

    def disconnect(self, plan: Plan) -> dict[str, int | NodeError]:
        """End the sessions of the plan's keys; gives the number ended by each node."""
        replies = self._call_all(
            "Disconnect", {node: cloud_pb2.DisconnectReq(keys=keys) for node, keys in plan.sends.items()}
        )
        return {node: reply if isinstance(reply, NodeError) else int(reply.sessions) for node, reply in replies.items()}

    def close(self) -> None:
        """Close all channels; calls under way end as unreachable."""
        with self._lock:
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.close()

    def _call_all(self, method: str, requests: Mapping[str, Any]) -> dict[str, Any]:
        """Call every node; gives its reply or a NodeError."""
        if len(requests) == 1:  # the common case; a future would cost a hand-over to another thread
            return {node: self._call(node, method, request) for node, request in requests.items()}
        futures = {node: self._call(node, method, request, later=True) for node, request in requests.items()}
        return {node: self._settled(node, future) for node, future in futures.items()}

    def _call(self, node: str, method: str, request: Any, *, later: bool = False) -> Any:
        if (size := request.ByteSize()) > _MOST_BYTES:
            return NodeRefused(node, f"{size} bytes are more than a node takes")
        address = address_of(node)
        # One look only: other threads take suspicions back too.
        until = self._suspect_until.get(address)
        if until is not None:
            if until > self._clock():
                return NodeUnreachable(node, "did not answer a moment ago")
            self._suspect_until[address] = self._clock() + self._deadline_s
        call = getattr(cloud_pb2_grpc.CloudStub(self._channel(address)), method)  # type: ignore[no-untyped-call]
        try:
            answer = (call.future if later else call)(request, timeout=self._deadline_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._translated(node, error)
        except ValueError as error:  # the channel was closed under us
            return NodeUnreachable(node, str(error))
        if not later:
            self._suspect_until.pop(address, None)
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
        self._suspect_until.pop(address_of(node), None)
        return reply

    def _translated(self, node: str, error: Any) -> NodeError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._suspect_until[address_of(node)] = self._clock() + _SUSPECT_S
            return NodeUnreachable(node, f"no answer within {self._deadline_s} s")
        self._suspect_until.pop(address_of(node), None)  # whatever it is, nobody waits for it
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            return NodeUnreachable(node, f"{code.name}: {details}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return NodeBusy(node, f"{details}")
        return NodeRefused(node, f"{code.name}: {details}")

    def _channel(self, address: str) -> Any:
        with self._lock:
            channel = self._channels.get(address)
            if channel is None:
                channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
                self._channels[address] = channel
            self._channels.move_to_end(address)
            idle = self._channels.popitem(last=False)[1] if len(self._channels) > _MAX_CHANNELS else None
        if idle is not None:
            idle.close()
        return channel


def _outcomes(node: str, reply: Any, keys: Sequence[str]) -> Mapping[str, KeyOutcome] | NodeError:
    if isinstance(reply, NodeError):
        return reply
    try:
        return outcomes_from_reply(keys, reply)
    except ValueError as error:
        return NodeRefused(node, f"its reply makes no sense: {error}")
