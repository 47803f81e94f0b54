"""The gRPC side of a node over a real server and a real hub, and a caller of its batch stream.

What is delivered is only noted: the keys are looked up in no hub.
"""

import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

import grpc

from cloud_node import metrics
from cloud_node.bridge import Bridge
from cloud_node.delivery import Delivery
from cloud_node.servicer import CloudServicer, GrpcServer
from proto import cloud_pb2
from proto.message import KeyOutcome, Outcome
from tests.parts.hub_thread import SOON_S, HubThread
from tests.parts.process import free_port

TOKEN = "a-grpc-token-of-32-characters-ok"


class GrpcNode:
    """Server, bridge and hub.  The key *nobody* has no session; *broken* raises on the hub."""

    def __init__(self, capacity: int = 16) -> None:
        self.got: list[str] = []  # push ids, in the order of delivery
        self.bridge = Bridge(capacity)
        self._hub = HubThread(self.bridge)
        port = free_port()
        deliverer: Any = self
        self.server = GrpcServer(
            CloudServicer(self.bridge, deliverer, list, len), ("127.0.0.1", port), threads=2, token=TOKEN
        )
        self.server.start()
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(self.address)

    def deliver(self, it: Delivery) -> dict[str, KeyOutcome]:
        """See Deliverer."""
        if "broken" in it.keys:
            raise RuntimeError("as asked")
        self.got.append(it.push_id)
        return {
            key: KeyOutcome(Outcome.NO_SESSION) if key == "nobody" else KeyOutcome(Outcome.DELIVERED, 1)
            for key in it.keys
        }

    def stream(self, token: str | None = TOKEN, *, urgent: bool = False) -> "Stream":
        """Open a stream."""
        return Stream(self.channel, token, urgent=urgent)

    def open_streams(self) -> int:
        """What the metrics say."""
        return int(metrics.REGISTRY.get_sample_value("cloudpush_node_streams") or 0)

    def stop(self) -> threading.Event:
        """Begin to stop, with a grace longer than any test."""
        stopped: threading.Event = self.server.stop(60)
        return stopped

    def end(self) -> None:
        """End all."""
        self.channel.close()
        assert self.server.stop(0).wait(SOON_S)
        self._hub.end()


class Stream:
    """One stream of a caller: batches go out when the test says so."""

    def __init__(self, channel: grpc.Channel, token: str | None, *, urgent: bool) -> None:
        self._out: Queue[cloud_pb2.PushBatch | None] = Queue()
        call = channel.stream_stream(
            "/im.cloud.Cloud/PushStream",
            request_serializer=cloud_pb2.PushBatch.SerializeToString,
            response_deserializer=cloud_pb2.PushBatchReply.FromString,
        )
        metadata = [("authorization", f"Bearer {token}")] if token else []
        metadata += [("urgent", "1")] if urgent else []
        self.call: Any = call(iter(self._out.get, None), metadata=metadata, timeout=4 * SOON_S)

    def send(self, seq: int, *pushes: cloud_pb2.PushMsgReq) -> None:
        """Send a batch."""
        self._out.put(cloud_pb2.PushBatch(seq=seq, pushes=pushes))

    def reply(self) -> cloud_pb2.PushBatchReply:
        """Wait for the next answer; raises grpc.RpcError when the stream ended with an error."""
        reply: cloud_pb2.PushBatchReply = next(self.call)
        return reply

    def ended(self) -> grpc.StatusCode:
        """Say that all is sent, and wait for the end."""
        self._out.put(None)
        return self.ends()

    def ends(self) -> grpc.StatusCode:
        """Wait for the end; answers that were not read are dropped."""
        for _ in _quiet(self.call):
            pass
        code: grpc.StatusCode = self.call.code()
        return code


def _quiet(call: Any) -> Iterator[object]:
    try:
        yield from call
    except grpc.RpcError:
        return


def push(push_id: str, *keys: str, body: bytes = b"1", **fields: Any) -> cloud_pb2.PushMsgReq:
    """Make a push, to one key if none is named."""
    proto = cloud_pb2.Proto(ver=1, op=9, body=body)
    return cloud_pb2.PushMsgReq(keys=keys or ["k"], proto=proto, push_id=push_id, **fields)
