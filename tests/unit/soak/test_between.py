"""What stands between processes does what its weather says, and nothing while it is calm."""

import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.parts.gate import Gate
from tests.parts.grpc_proxy import GrpcProxy, Weather
from tests.parts.process import until

_WAIT_S = 5.0
_METHOD = "/im.cloud.Cloud/PushMsg"
_CLOCK = Path(__file__).parents[2] / "soak" / "clock"


class _Node(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        self.got.append(request)
        return b"re: " + request


@pytest.fixture
def node() -> Iterator[tuple[_Node, GrpcProxy, grpc.Channel]]:
    handler, server = _Node(), grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    proxy = GrpcProxy(port, seed=1)
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        yield handler, proxy, channel
    proxy.close()
    server.stop(0)


def _call(channel: grpc.Channel, request: bytes, timeout_s: float = _WAIT_S) -> bytes:
    reply: bytes = channel.unary_unary(_METHOD)(request, timeout=timeout_s)
    return reply


def test_a_calm_proxy_passes_calls_on(node: tuple[_Node, GrpcProxy, grpc.Channel]) -> None:
    handler, _, channel = node
    assert _call(channel, b"one") == b"re: one"
    assert handler.got == [b"one"]


def test_a_dropped_call_never_arrives_and_its_caller_waits_in_vain(
    node: tuple[_Node, GrpcProxy, grpc.Channel],
) -> None:
    handler, proxy, channel = node
    with proxy.weather(Weather(drop=1.0)), pytest.raises(grpc.RpcError) as ended:
        _call(channel, b"one", timeout_s=0.2)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert handler.got == []


def test_a_lost_reply_is_one_call_that_arrived(node: tuple[_Node, GrpcProxy, grpc.Channel]) -> None:
    handler, proxy, channel = node
    with proxy.weather(Weather(lose_reply=1.0)), pytest.raises(grpc.RpcError) as ended:
        _call(channel, b"one")
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert handler.got == [b"one"]


def test_a_doubled_call_arrives_twice(node: tuple[_Node, GrpcProxy, grpc.Channel]) -> None:
    handler, proxy, channel = node
    with proxy.weather(Weather(duplicate=1.0)):
        _call(channel, b"one")
    until(lambda: handler.got == [b"one", b"one"], _WAIT_S, "the second copy")


def test_a_cut_gate_holds_bytes_and_connections_and_lets_them_go_on_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = Gate(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", gate.port)) as near:
            far, _ = listener.accept()
            near.sendall(b"before")
            assert far.recv(100) == b"before"
            came: queue.Queue[bytes] = queue.Queue()
            with gate.cut():
                near.sendall(b"during")
                threading.Thread(target=lambda: came.put(far.recv(100)), daemon=True).start()
                with pytest.raises(queue.Empty):
                    came.get(timeout=0.3)
                later = socket.create_connection(("127.0.0.1", gate.port))
            assert came.get(timeout=_WAIT_S) == b"during"
            with later, listener.accept()[0] as served:
                later.sendall(b"late")
                assert served.recv(100) == b"late"
            far.close()
        gate.close()


def test_the_clock_of_a_process_jumps_by_what_its_file_says(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("-3600")
    program = "import time; print(time.time(), time.time_ns() // 10**9)"
    env = os.environ | {"PYTHONPATH": str(_CLOCK), "SOAK_CLOCK": str(clock)}
    told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    real = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for jumped, now in zip(told.stdout.split(), real.stdout.split(), strict=True):
        assert float(now) - float(jumped) == pytest.approx(3600, abs=30)
