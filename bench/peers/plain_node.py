"""The plain pipeline's node: stock python-socketio on eventlet, told what to emit by unary gRPC calls.

gRPC runs on native threads, which hand each call to a greenlet and wait until it is done: the fastest of the ways that
docs/adr/0003 compares.  Arguments: port, port of gRPC.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import eventlet
import eventlet.hubs
import eventlet.wsgi
import grpc
import orjson
import socketio

from proto import cloud_pb2, cloud_pb2_grpc

_MOST_SESSIONS = 50_000
_THREADS = 16
_CALL_S = 2.0


class Bridge:
    """Runs functions on the hub's thread for others."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], object], Future[None]]] = deque()  # at most one a thread of gRPC's
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)

    def call(self, function: Callable[[], object]) -> None:
        """Have *function* run, and wait until it has."""
        done: Future[None] = Future()
        self._waiting.append((function, done))
        os.eventfd_write(self._bell, 1)
        done.result(_CALL_S)

    def serve(self) -> None:
        """Run what comes, on the greenlet that calls this."""
        while True:
            eventlet.hubs.trampoline(self._bell, read=True)
            os.eventfd_read(self._bell)
            while self._waiting:
                function, done = self._waiting.popleft()
                try:
                    function()
                except Exception as error:  # noqa: BLE001 - its caller's
                    done.set_exception(error)
                else:
                    done.set_result(None)


class Cloud(cloud_pb2_grpc.CloudServicer):
    """PushMsg, and nothing else."""

    def __init__(self, sio: socketio.Server, bridge: Bridge) -> None:
        self._sio = sio
        self._bridge = bridge

    def PushMsg(self, request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:  # noqa: ARG002, N802
        """Emit to each key's room."""
        msg = orjson.loads(request.proto.body)
        for key in request.keys:
            push = {"op": request.protoOp, "msg": msg, "key": key, "push_id": ""}
            self._bridge.call(lambda key=key, push=push: self._sio.emit("push", push, room=key))  # type: ignore[misc]
        return cloud_pb2.PushMsgReply()


def main() -> None:
    """Serve until killed; a session answers to its own key by entering a room of that name."""
    port, grpc_port = int(sys.argv[1]), int(sys.argv[2])
    sio = socketio.Server(async_mode="eventlet")

    @sio.event  # type: ignore[untyped-decorator]
    def connect(sid: str, _environ: object, auth: dict[str, str]) -> None:
        sio.enter_room(sid, auth["key"])
        sio.start_background_task(sio.emit, "ready", {}, to=sid)

    bridge = Bridge()
    eventlet.spawn(bridge.serve)
    calls = grpc.server(ThreadPoolExecutor(_THREADS))
    cloud_pb2_grpc.add_CloudServicer_to_server(Cloud(sio, bridge), calls)  # type: ignore[no-untyped-call]
    calls.add_insecure_port(f"127.0.0.1:{grpc_port}")
    calls.start()
    listener = eventlet.listen(("127.0.0.1", port))
    eventlet.wsgi.server(listener, socketio.WSGIApp(sio), max_size=_MOST_SESSIONS, log_output=False)


main()
