"""The RPCs of a node, on native threads: check the request, have the hub deliver it, answer what became of each key.

Refuses a request with no keys, no proto, or a body that is not JSON: INVALID_ARGUMENT, and an error in the log.
"""

import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
import orjson
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cloud_node import metrics
from cloud_node.bridge import Bridge, BridgeFull
from cloud_node.delivery import Deliverer, Delivery
from proto import cloud_pb2, cloud_pb2_grpc
from proto import keys as key_names
from proto.message import KeyOutcome, Message, reply_from_outcomes

T = TypeVar("T")

SERVICE = cloud_pb2.DESCRIPTOR.services_by_name["Cloud"].full_name
_LONGEST_S = 5.0
_MAX_KEYS = 10_000

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

    def Ping(self, request: cloud_pb2.Empty, context: Any) -> cloud_pb2.Empty:  # noqa: N802, ARG002
        """Answer."""
        return cloud_pb2.Empty()

    def PushMsg(self, request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:  # noqa: N802
        """Deliver one message to the sessions of each key."""
        keys = tuple(request.keys)
        with metrics.RPC_SECONDS.time():
            return reply_from_outcomes(keys, self._deliver(keys, request, context, request.push_id, request.expires_ms))

    def Broadcast(self, request: cloud_pb2.BroadcastReq, context: Any) -> cloud_pb2.BroadcastReply:  # noqa: N802
        """The key ``all``."""
        outcomes = self._deliver((key_names.ALL,), request, context, request.push_id, 0)
        return cloud_pb2.BroadcastReply(sessions=outcomes[key_names.ALL].sessions)

    def BroadcastRoom(  # noqa: N802
        self, request: cloud_pb2.BroadcastRoomReq, context: Any
    ) -> cloud_pb2.BroadcastRoomReply:
        """The key ``room:<roomID>``."""
        if not request.roomID:
            _refuse(context, "no roomID")
        key = key_names.room_key(request.roomID)
        return cloud_pb2.BroadcastRoomReply(
            sessions=self._deliver((key,), request, context, request.push_id, 0)[key].sessions
        )

    def Rooms(self, request: cloud_pb2.RoomsReq, context: Any) -> cloud_pb2.RoomsReply:  # noqa: N802, ARG002
        """The rooms that have a session here."""
        return cloud_pb2.RoomsReply(rooms=dict.fromkeys(self._on_hub(context, self._rooms), True))

    def Disconnect(self, request: cloud_pb2.DisconnectReq, context: Any) -> cloud_pb2.DisconnectReply:  # noqa: N802
        """End the sessions that answer to one of the keys."""
        if not request.keys:
            _refuse(context, "no keys")
        return cloud_pb2.DisconnectReply(sessions=self._on_hub(context, self._disconnect, list(request.keys)))

    def _deliver(
        self, keys: tuple[str, ...], request: Any, context: Any, push_id: str, expires_ms: int
    ) -> dict[str, KeyOutcome]:
        if not keys:
            _refuse(context, "no keys")
        if len(keys) > _MAX_KEYS:
            _refuse(context, f"more than {_MAX_KEYS} keys")
        if not request.HasField("proto"):
            _refuse(context, "no proto")
        try:
            orjson.loads(request.proto.body)
        except orjson.JSONDecodeError as error:
            _refuse(context, f"proto.body is not JSON: {error}")
        op = getattr(request, "protoOp", 0) or request.proto.op
        delivery = Delivery(keys, Message(op, request.proto.body), push_id, expires_ms)
        outcomes: dict[str, KeyOutcome] = self._on_hub(context, self._deliverer.deliver, delivery)
        for answer in outcomes.values():
            metrics.OUTCOMES.labels(answer.outcome.name.lower()).inc()
            metrics.HANDED.inc(answer.sessions)
        log.debug("delivered", push_id=push_id, op=op, outcomes=[it.outcome.name for it in outcomes.values()])
        return outcomes

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
        self._denial = grpc.unary_unary_rpc_method_handler(_deny)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See grpc.ServerInterceptor."""
        shown = str(dict(details.invocation_metadata).get("authorization", "")).encode()
        if hmac.compare_digest(shown, self._expected) or details.method.startswith("/grpc.health."):
            return continuation(details)
        return self._denial


class GrpcServer:
    """The gRPC server of a node: our service, standard health checking, reflection."""

    def __init__(self, servicer: CloudServicer, address: tuple[str, int], *, threads: int, token: str | None) -> None:
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            interceptors=(_TokenCheck(token),) if token else (),
            # Without this two nodes could listen on one port, each getting some of the calls.
            options=(("grpc.so_reuseport", 0),),
            maximum_concurrent_rpcs=threads * 64,
        )
        cloud_pb2_grpc.add_CloudServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        host, port = address
        self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def start(self) -> None:
        """Begin to serve; not yet SERVING for health checks."""
        self.serving(False)
        self._server.start()

    def serving(self, yes: bool) -> None:
        """Say SERVING or NOT_SERVING to health checks."""
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            self._health.set(service, status)

    def stop(self, grace_s: float) -> Any:
        """Take no new calls and give those under way *grace_s*; gives an Event to poll, not to wait for on the hub."""
        return self._server.stop(grace_s)


def _refuse(context: Any, reason: str) -> NoReturn:
    log.error("refused a gRPC request", reason=reason, peer=context.peer())
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
    raise AssertionError("abort raises")


def _deny(_request: Any, context: Any) -> NoReturn:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "authorization: Bearer <CLOUDPUSH_GRPC_TOKEN> is missing or wrong")
    raise AssertionError("abort raises")
