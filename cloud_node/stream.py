"""Batch streams: batches are read ahead, delivered in order, and answered in order.

A stream keeps two native threads for its life: gRPC's own, which answers, and one that reads.  Reading ahead is what
lets a node that is behind catch up: batches that wait together are delivered in one run of the bridge, and what they
hold for the same sessions goes out in one write each.  A stream that waited for each answer would pay one sweep over
its sessions for each batch (docs/adr/0009).

All batches of a stream whose metadata says ``urgent: 1`` go by the bridge's urgent lane, so they keep their order.

Bounds: MAX_STREAMS streams; of each, ``_AHEAD`` batches or ``_AHEAD_BYTES`` and one more, and one message that gRPC
receives.  Flow control holds the caller.  Refuses to end a stream because of what a batch holds or of what becomes of
it: that is what the answers are for.

Endings: the caller has sent all (OK); the caller went away; the node stops (batches in hand are answered first, then
UNAVAILABLE); the caller does not read its answers (CANCELLED).

Interleavings:

1. *A batch comes while the node stops.*  :meth:`PushStream.end` and the thread that reads exclude each other by a lock:
   either the batch was taken first, and is delivered and answered, or it is dropped and nothing was delivered.
2. *The stream ends while its reader waits*, for a batch or for room: gRPC ends the iterator, and the window is closed;
   either wakes it, and it ends.
3. *The bridge is full.*  The reader waits for an answer to a batch of its own and tries again, so no batch overtakes
   another; only a stream that has none under way has its batch handed back.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import structlog

from cloud_node import metrics
from cloud_node.batch import Answer, Batch
from cloud_node.bridge import Bridge, BridgeFull
from cloud_node.delivery import Deliverer
from cloud_node.requests import Refused
from proto import cloud_pb2

MAX_STREAMS = 256
_AHEAD = 32  # batches
_AHEAD_BYTES = 4 * 1024 * 1024
_BEGIN_S = 5.0  # what the hub has not begun by then is handed back
_UNREAD_S = 30.0  # for a caller to make room for one answer
_WATCH_S = 5.0

Reply = cloud_pb2.PushBatchReply
Finish = Callable[[], Reply]  # waits for what has begun

log = structlog.get_logger()


class Streams:
    """The streams that are open."""

    def __init__(self, bridge: Bridge, deliverer: Deliverer) -> None:
        self._bridge = bridge
        self._deliverer = deliverer
        self._lock = threading.Lock()
        self._open: set[PushStream] = set()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_unread, name="streams", daemon=True)

    def start(self) -> None:
        """Begin to look after callers that do not read."""
        self._watch.start()

    def serve(self, batches: Iterator[cloud_pb2.PushBatch], context: Any) -> Iterator[cloud_pb2.PushBatchReply]:
        """Serve one stream, on the calling thread."""
        stream = PushStream(context)
        begin = partial(self._begin, urgent=("urgent", "1") in context.invocation_metadata())
        with self._lock:
            full = len(self._open) >= MAX_STREAMS
            if not full:
                self._open.add(stream)
            metrics.STREAMS.set(len(self._open))
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are open")
        if self._stopping.is_set():
            stream.end()
        try:
            yield from stream.replies(batches, begin)
        finally:
            with self._lock:
                self._open.discard(stream)
                metrics.STREAMS.set(len(self._open))

    def end(self) -> None:
        """End every stream, open now or later; each answers first what it has in hand."""
        self._stopping.set()
        for stream in self._all():
            stream.end()

    def _all(self) -> "list[PushStream]":
        with self._lock:
            return list(self._open)

    def _watch_unread(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            for stream in self._all():
                stream.end_if_unread(time.monotonic() - _UNREAD_S)

    def _begin(self, request: cloud_pb2.PushBatch, *, urgent: bool) -> Finish:
        """Check a batch and hand it to the hub; raises BridgeFull."""
        began = time.monotonic()
        try:
            batch = Batch(request)
            wait = self._bridge.begin_in_steps(partial(batch.deliver, self._deliverer), urgent=urgent)
        except Refused as refused:
            return partial(_handed_back, request.seq, cloud_pb2.BATCH_INVALID, str(refused))
        return partial(_finish, batch, wait, request.seq, began)


def _finish(batch: Batch, wait: Callable[[float], list[Answer]], seq: int, began: float) -> Reply:
    try:
        reply = batch.reply(wait(max(0.0, began + _BEGIN_S - time.monotonic())))
    except BridgeFull as full:  # the bridge was closed
        return _handed_back(seq, cloud_pb2.BATCH_BUSY, str(full))
    except TimeoutError:
        return _handed_back(seq, cloud_pb2.BATCH_LATE, "the hub did not get to it in time; nothing was sent")
    metrics.observe(metrics.RPC_SECONDS, time.monotonic() - began, batch.push_id)
    return reply


def _handed_back(seq: int, end: cloud_pb2.BatchEnd, reason: str) -> Reply:
    log.warning("a batch was not delivered", end=cloud_pb2.BatchEnd.Name(end), reason=reason, seq=seq)
    return Reply(seq=seq, end=end, error=reason)


class _Window:
    """Batches that have begun and are not answered, with their sizes; between the two threads of a stream."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun: deque[tuple[Finish, int]] = deque()
        self._count = 0  # with the one that is being answered
        self._bytes = 0
        self._no_more = False

    def room(self) -> bool:
        """Wait for room; False when nothing more may come."""
        with self._changed:
            self._changed.wait_for(lambda: self._no_more or (self._count < _AHEAD and self._bytes < _AHEAD_BYTES))
            return not self._no_more

    def put(self, finish: Finish, size: int) -> None:
        """Add a batch."""
        with self._changed:
            self._begun.append((finish, size))
            self._count += 1
            self._bytes += size
            self._changed.notify_all()

    def await_answer(self) -> bool:
        """Wait until one that has begun is answered; False when none has, or nothing more may come."""
        with self._changed:
            before = self._count
            self._changed.wait_for(lambda: self._no_more or self._count < before or not before)
            return before > 0 and not self._no_more

    def no_more(self) -> None:
        """Say that nothing more comes."""
        with self._changed:
            self._no_more = True
            self._changed.notify_all()

    def take(self) -> tuple[Finish, int] | None:
        """Wait for the oldest; None when there is none and nothing more comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun or self._no_more)
            return self._begun.popleft() if self._begun else None

    def answered(self, size: int) -> None:
        """Make room."""
        with self._changed:
            self._count -= 1
            self._bytes -= size
            self._changed.notify_all()


class PushStream:
    """One stream: answers on the thread that gRPC gave it, reads on another; ended from other threads."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._stopping = False
        self._window = _Window()
        self._answered_at: float | None = None  # when the answer was ready that the caller has made no room for yet

    def replies(
        self, batches: Iterator[cloud_pb2.PushBatch], begin: Callable[[cloud_pb2.PushBatch], Finish]
    ) -> Iterator[Reply]:
        """Answer batch after batch."""
        threading.Thread(target=self._read, args=(batches, begin), name="stream", daemon=True).start()
        try:
            while (begun := self._window.take()) is not None:
                finish, size = begun
                reply = finish()
                self._answered_at = time.monotonic()
                yield reply
                self._answered_at = None
                self._window.answered(size)
        finally:
            self._window.no_more()
        if self._stopping:
            self._context.abort(grpc.StatusCode.UNAVAILABLE, "the node is stopping")

    def end(self) -> None:
        """Take no further batch."""
        with self._lock:
            self._stopping = True
            self._window.no_more()

    def end_if_unread(self, since: float) -> None:
        """Cancel it if the caller has not made room for an answer since then."""
        answered_at = self._answered_at
        if answered_at is not None and answered_at < since:
            log.warning("ended a stream whose answers are not read", peer=self._context.peer())
            self._context.cancel()

    def _read(self, batches: Iterator[cloud_pb2.PushBatch], begin: Callable[[cloud_pb2.PushBatch], Finish]) -> None:
        try:
            while self._window.room() and (request := next(batches, None)) is not None:
                while not self._begin(request, begin):
                    if not self._window.await_answer():
                        full = partial(_handed_back, request.seq, cloud_pb2.BATCH_BUSY, "the hub is behind")
                        self._window.put(full, 0)
                        break
        except Exception as error:  # noqa: BLE001 - gRPC raises a bare Exception when the call is over
            log.debug("a stream was cut off", reason=repr(error))
        finally:
            self._window.no_more()

    def _begin(self, request: cloud_pb2.PushBatch, begin: Callable[[cloud_pb2.PushBatch], Finish]) -> bool:
        """Begin a batch unless the node stops; False when the bridge is full."""
        with self._lock:
            if not self._stopping:
                try:
                    self._window.put(begin(request), request.ByteSize())
                except BridgeFull:
                    return False
            return True
