"""A cloud node's gRPC side that says what a test wants: a real server on loopback, with no sessions behind it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from proto import cloud_pb2, cloud_pb2_grpc

OnPush = Callable[[cloud_pb2.PushMsgReq, Any], cloud_pb2.PushMsgReply]
OnBatches = Callable[[Iterator[cloud_pb2.PushBatch], Any], Iterator[cloud_pb2.PushBatchReply]]


@dataclass
class FakeNode:
    """*on_push* and *on_batches* answer; *requests* and *metadata* keep what came.

    Without *on_batches* it has no batch streams, as a node of the original im-cloud.
    """

    on_push: OnPush
    on_batches: OnBatches | None = None
    address: str = ""
    requests: list[cloud_pb2.PushMsgReq] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)


class _Servicer(cloud_pb2_grpc.CloudServicer):
    def __init__(self, node: FakeNode) -> None:
        self._node = node

    def PushMsg(self, request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        self._node.requests.append(request)
        self._node.metadata.append(dict(context.invocation_metadata()))
        return self._node.on_push(request, context)

    def PushStream(self, batches: Iterator[cloud_pb2.PushBatch], context: Any) -> Iterator[cloud_pb2.PushBatchReply]:
        on_batches = self._node.on_batches
        if on_batches is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
            raise AssertionError("abort raises")
        self._node.metadata.append(dict(context.invocation_metadata()))
        yield from on_batches(batches, context)

    def Disconnect(self, request: cloud_pb2.DisconnectReq, _context: Any) -> cloud_pb2.DisconnectReply:
        return cloud_pb2.DisconnectReply(sessions=len(request.keys))


@contextmanager
def serving(on_push: OnPush, on_batches: OnBatches | None = None) -> Iterator[FakeNode]:
    """Serve on a free port until the block ends."""
    node = FakeNode(on_push, on_batches)
    server = grpc.server(ThreadPoolExecutor(8))
    cloud_pb2_grpc.add_CloudServicer_to_server(_Servicer(node), server)  # type: ignore[no-untyped-call]
    node.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield node
    finally:
        server.stop(None).wait(5)
