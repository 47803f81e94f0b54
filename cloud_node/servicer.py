"""The RPCs of a node, on native threads: check the request, have the hub deliver it, answer what became of each key.

Refuses what requests.py refuses: INVALID_ARGUMENT, and an error in the log.  The batch stream is stream.py's.
"""

import hmac
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cloud_node import metrics
from cloud_node.bridge import Bridge, BridgeFull
from cloud_node.delivery import Deliverer, Delivery
from cloud_node.requests import Refused, from_push, to_one_key
from cloud_node.stream import MAX_STREAMS, Streams
from proto import cloud_pb2, cloud_pb2_grpc
from proto import keys as key_names
from proto.message import KeyOutcome, Outcome, reply_from_outcomes

T = TypeVar("T")

SERVICE = cloud_pb2.DESCRIPTOR.services_by_name["Cloud"].full_name
_LONGEST_S = 5.0
_OPTIONS = (
    # Without this two nodes could listen on one port, each getting some of the calls.
    ("grpc.so_reuseport", 0),
    # gRPC's default, said aloud: it bounds what a stream can make a node hold.  10,000 keys of 400 letters fit.
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # A worker that died without a word must not keep its stream's thread.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Workers do the same (tasks/nodes.py); on a stream that is idle gRPC would take that for abuse and hang up.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

log = structlog.get_logger()


class CloudServicer(cloud_pb2_grpc.CloudServicer):
    """``im.cloud.Cloud``.  *rooms* and *disconnect* run on the hub's thread, as delivery does."""

    def __init__(
        self,
        bridge: Bridge,
        deliverer: Deliverer,
        rooms: Callable[[], list[str]],
        disconnect: Callable[[list[str]], int],
    ) -> None:
        self._bridge = bridge
        self._deliverer = deliverer
        self._rooms = rooms
        self._disconnect = disconnect
        self.streams = Streams(bridge, deliverer)

    def Ping(self, request: cloud_pb2.Empty, context: Any) -> cloud_pb2.Empty:  # noqa: N802, ARG002
        """Answer."""
        return cloud_pb2.Empty()

    def PushMsg(self, request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:  # noqa: N802
        """Deliver one message to the sessions of each key."""
        began = time.monotonic()
        it = _checked(context, from_push, request)
        reply = reply_from_outcomes(it.keys, self._deliver(context, it))
        metrics.observe(metrics.RPC_SECONDS, time.monotonic() - began, it.push_id)
        return reply

    def PushStream(  # noqa: N802
        self, request_iterator: Iterator[cloud_pb2.PushBatch], context: Any
    ) -> Iterator[cloud_pb2.PushBatchReply]:
        """Deliver batch after batch."""
        return self.streams.serve(request_iterator, context)

    def Broadcast(self, request: cloud_pb2.BroadcastReq, context: Any) -> cloud_pb2.BroadcastReply:  # noqa: N802
        """The key ``all``."""
        it = _checked(context, to_one_key, request, key_names.ALL, request.protoOp, request.speed)
        outcome = self._deliver(context, it)[key_names.ALL]
        if outcome.outcome is Outcome.BUSY:  # the reply has no word for it
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough paced broadcasts are under way")
        return cloud_pb2.BroadcastReply(sessions=outcome.sessions)

    def BroadcastRoom(  # noqa: N802
        self, request: cloud_pb2.BroadcastRoomReq, context: Any
    ) -> cloud_pb2.BroadcastRoomReply:
        """The key ``room:<roomID>``."""
        if not request.roomID:
            _refuse(context, "no roomID")
        key = key_names.room_key(request.roomID)
        it = _checked(context, to_one_key, request, key)
        return cloud_pb2.BroadcastRoomReply(sessions=self._deliver(context, it)[key].sessions)

    def Rooms(self, request: cloud_pb2.RoomsReq, context: Any) -> cloud_pb2.RoomsReply:  # noqa: N802, ARG002
        """The rooms that have a session here."""
        return cloud_pb2.RoomsReply(rooms=dict.fromkeys(self._on_hub(context, self._rooms), True))

    def Disconnect(self, request: cloud_pb2.DisconnectReq, context: Any) -> cloud_pb2.DisconnectReply:  # noqa: N802
        """End the sessions that answer to one of the keys."""
        if not request.keys:
            _refuse(context, "no keys")
        return cloud_pb2.DisconnectReply(sessions=self._on_hub(context, self._disconnect, list(request.keys)))

    def _deliver(self, context: Any, it: Delivery) -> dict[str, KeyOutcome]:
        outcomes: dict[str, KeyOutcome] = self._on_hub(context, self._in_turn, it, time.monotonic())
        metrics.count(outcomes.values())
        log.debug(
            "delivered",
            push_id=it.push_id,
            op=it.message.op,
            outcomes=[each.outcome.name for each in outcomes.values()],
        )
        return outcomes

    def _in_turn(self, it: Delivery, checked_at: float) -> dict[str, KeyOutcome]:
        metrics.observe(metrics.HUB_WAIT_SECONDS, time.monotonic() - checked_at, it.push_id)
        return self._deliverer.deliver(it)

    def _on_hub(self, context: Any, run: Callable[..., T], *args: Any) -> T:
        remaining = context.time_remaining()
        try:
            return self._bridge.call(_LONGEST_S if remaining is None else min(remaining, _LONGEST_S), run, *args)
        except BridgeFull as error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except TimeoutError:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the hub did not get to it in time; nothing was sent")
        raise AssertionError("abort raises")


class _TokenCheck(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets through calls that show the shared token, and health checks."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        # As for a stream, whatever was called: so no thread waits for a first message, which may never come.
        self._denial = grpc.stream_stream_rpc_method_handler(_deny)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See grpc.ServerInterceptor."""
        shown = str(dict(details.invocation_metadata).get("authorization", "")).encode()
        if hmac.compare_digest(shown, self._expected) or details.method.startswith("/grpc.health."):
            return continuation(details)
        return self._denial


class GrpcServer:
    """The gRPC server of a node: our service, standard health checking, reflection."""

    def __init__(self, servicer: CloudServicer, address: tuple[str, int], *, threads: int, token: str | None) -> None:
        self._streams = servicer.streams
        self._health = health.HealthServicer()
        self._server = grpc.server(
            # It makes a thread only when none is idle, so streams that are not open cost nothing.
            ThreadPoolExecutor(threads + MAX_STREAMS, thread_name_prefix="grpc"),
            interceptors=(_TokenCheck(token),) if token else (),
            options=_OPTIONS,
            maximum_concurrent_rpcs=threads * 64 + MAX_STREAMS,
        )
        cloud_pb2_grpc.add_CloudServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        host, port = address
        self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def start(self) -> None:
        """Begin to serve; not yet SERVING for health checks."""
        self.serving(False)
        self._streams.start()
        self._server.start()

    def serving(self, yes: bool) -> None:
        """Say SERVING or NOT_SERVING to health checks."""
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            self._health.set(service, status)

    def stop(self, grace_s: float) -> Any:
        """Take no new calls and give those under way *grace_s*; gives an Event to poll, not to wait for on the hub."""
        stopped = self._server.stop(grace_s)
        self._streams.end()
        return stopped


def _checked(context: Any, read: Callable[..., Delivery], *args: Any) -> Delivery:
    try:
        return read(*args)
    except Refused as refused:
        _refuse(context, str(refused))


def _refuse(context: Any, reason: str) -> NoReturn:
    log.error("refused a gRPC request", reason=reason, peer=context.peer())
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
    raise AssertionError("abort raises")


def _deny(_requests: Any, context: Any) -> NoReturn:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "authorization: Bearer <CLOUDPUSH_GRPC_TOKEN> is missing or wrong")
    raise AssertionError("abort raises")
