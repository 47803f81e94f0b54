"""Stands between workers and a node's gRPC port, and does to single calls what a bad network does.

Refuses to know what a call says: it passes bytes of any unary method on, with its deadline and its credentials.  Each
batch of a stream meets the weather as a call does, and reaches the node in a stream of its own, one after the other.

Threads: gRPC's own serve the calls; the weather is one frozen value, replaced whole.  A call that is held keeps its
thread until its caller gives up, so a cut with more calls than threads makes the rest wait unserved: held as well.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc

_SERVICE = "/im.cloud.Cloud/"
_STREAM = f"{_SERVICE}PushStream"
_THREADS = 128
_LATE_S = 1.5  # longest delay, also of a second copy
_FORWARD_S = 5.0
_HELD_S = 15.0
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(frozen=True)
class Weather:
    """What share of the calls (0 to 1) meets which end."""

    drop: float = 0.0  # never reaches the node; the caller waits for its deadline
    delay: float = 0.0  # reaches it up to _LATE_S later, whether or not the caller still waits
    duplicate: float = 0.0  # reaches it once more, later
    lose_reply: float = 0.0  # reaches it; the caller hears that the connection broke


CALM = Weather()


class GrpcProxy:
    """Listens on a port of its own from its making until :meth:`close`."""

    def __init__(self, target: int, seed: int) -> None:
        self.met: Counter[str] = Counter()  # calls, and how many met what
        self._weather = CALM
        self._random = random.Random(seed)
        self._to_node = grpc.insecure_channel(f"127.0.0.1:{target}", options=_OPTIONS)
        self._again = ThreadPoolExecutor(8, "second-copy")
        self._closed = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(_THREADS), options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((_Any(self._serve, self._serve_stream),))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @contextmanager
    def weather(self, weather: Weather) -> Iterator[None]:
        """Have this weather within the block."""
        self._weather = weather
        try:
            yield
        finally:
            self._weather = CALM

    def close(self) -> None:
        """End calls under way, and take no more."""
        self._closed.set()
        self._server.stop(0).wait(5)
        self._again.shutdown(cancel_futures=True)
        self._to_node.close()

    def _serve_stream(self, batches: Iterator[bytes], call: grpc.ServicerContext) -> Iterator[bytes]:
        for batch in batches:
            yield self._serve(_STREAM, batch, call)

    def _serve(self, method: str, request: bytes, call: grpc.ServicerContext) -> bytes:
        weather, dice = self._weather, self._random.random
        self.met["calls"] += 1
        if dice() < weather.drop:
            self.met["dropped"] += 1
            self._hold(call, _HELD_S)
            call.abort(grpc.StatusCode.UNAVAILABLE, "dropped on the way")
        credentials = [pair for pair in call.invocation_metadata() if pair[0] in ("authorization", "urgent")]
        if dice() < weather.duplicate:
            self.met["duplicated"] += 1
            self._again.submit(self._copy, method, request, credentials)
        if dice() < weather.delay:
            self.met["delayed"] += 1
            self._closed.wait(dice() * _LATE_S)
        try:
            reply = self._forward(method, request, credentials)
        except grpc.RpcError as error:
            call.abort(error.code(), error.details())
        if dice() < weather.lose_reply:
            self.met["replies lost"] += 1
            call.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")
        return reply

    def _copy(self, method: str, request: bytes, credentials: Any) -> None:
        self._closed.wait(self._random.random() * _LATE_S)
        with suppress(grpc.RpcError):
            self._forward(method, request, credentials)

    def _forward(self, method: str, request: bytes, credentials: Any) -> bytes:
        if method == _STREAM:
            (reply,) = self._to_node.stream_stream(method)(iter([request]), timeout=_FORWARD_S, metadata=credentials)
        else:
            reply = self._to_node.unary_unary(method)(request, timeout=_FORWARD_S, metadata=credentials)
        answer: bytes = reply
        return answer

    def _hold(self, call: grpc.ServicerContext, seconds: float) -> None:
        over = threading.Event()
        if call.add_callback(over.set):
            over.wait(seconds)


class _Any(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every method of the service."""

    def __init__(self, serve: Any, serve_stream: Any) -> None:
        self._serve = serve
        self._serve_stream = serve_stream

    def service(self, called: Any) -> Any:
        method = called.method
        if not method.startswith(_SERVICE):
            return None
        if method == _STREAM:
            return grpc.stream_stream_rpc_method_handler(self._serve_stream)
        return grpc.unary_unary_rpc_method_handler(lambda request, call: self._serve(method, request, call))
