"""A cloud node's gRPC side that says what a test wants: a real server on loopback, with no sessions behind it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from proto import cloud_pb2, cloud_pb2_grpc

OnPush = Callable[[cloud_pb2.PushMsgReq, Any], cloud_pb2.PushMsgReply]


@dataclass
class FakeNode:
    """*on_push* answers; *requests* and *metadata* keep what came."""

    on_push: OnPush
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

    def Disconnect(self, request: cloud_pb2.DisconnectReq, _context: Any) -> cloud_pb2.DisconnectReply:
        return cloud_pb2.DisconnectReply(sessions=len(request.keys))


@contextmanager
def serving(on_push: OnPush) -> Iterator[FakeNode]:
    """Serve on a free port until the block ends."""
    node = FakeNode(on_push)
    server = grpc.server(ThreadPoolExecutor(4))
    cloud_pb2_grpc.add_CloudServicer_to_server(_Servicer(node), server)  # type: ignore[no-untyped-call]
    node.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield node
    finally:
        server.stop(None).wait(5)
