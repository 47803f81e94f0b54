"""A link: one long-lived PushStream to one node, which the threads of a worker share.

What callers hand over waits in order, goes out in batches, and is settled by the node's answers, which come in the
order of the batches.  A push that comes alone goes at once, on its caller's thread.  While two batches are unanswered
what comes joins the next one, which goes when it is full or when an answer comes; how many full ones may be unanswered
is the window's to say (tasks/link_window.py).

Refuses to wait, to retry, and to know what is in a chunk.  Every chunk that is handed over is settled, once, or given
up by its caller.  Bounds: MOST_WAITING pushes and MOST_WAITING_BYTES that wait (who comes then is told that the node is
busy), and the window.

Threads: callers hand over and give up; gRPC's thread of the channel tells what was sent, what was answered, and the end
(tasks/link_wire.py).  Whatever happens gives the next batch its turn: :meth:`Link._turn`, under the lock.

Interleavings, and why each is harmless:

1. *Two callers find no stream.*  The first one, under the lock, makes it; the other's chunks wait for it.
2. *A stream ends while a caller hands over.*  Under the lock either the chunk was there before, and fails with the
   rest, or a new stream is made for it.  Each stream has its own list of what it sent, and an event of one that has
   ended finds it marked so: an answer that comes late is dropped, nothing more is sent.
3. *A stream ends between a batch's turn and its sending.*  The batch is listed before it is sent, so it fails with the
   rest: it may or may not have been delivered, and the node drops by push_id what it has had.
4. *A stream is ended, or the link closed, before gRPC has given the call.*  Whoever opened it looks at the mark once
   more when it has the call, under the lock.
5. *Two threads find that a batch may go.*  The one that takes the turn marks the stream as sending until gRPC has taken
   the message; so one sends at a time, and in order.
6. *An answer comes as its caller gives the chunk up.*  See tasks/link_parcel.py.  The batch stays in the window until
   it is answered.
7. *A chunk is given up as its turn comes.*  Both hold the lock: it was taken out, or it was sent.
8. *The link's lock and gRPC's.*  Nothing of gRPC's is called under the link's lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import grpc

from proto import cloud_pb2
from proto.errors import NodeBusy, NodeRefused, NodeUnreachable
from tasks.link_batch import Batch, Stream
from tasks.link_parcel import MOST_BYTES, MOST_PUSHES, UNSENT, UNSERVED, Chunk, Failure
from tasks.link_window import Window
from tasks.link_wire import Events, NoWire, Wire

MOST_WAITING = 4_000
MOST_WAITING_BYTES = 16 * 1024 * 1024
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 1.0
_NO_STREAMS_S = 60.0  # an old node may be replaced by a new one
_NO_STREAM_LEFT_S = 5.0
_NEVER = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT}
)
_CLOSED = Failure(NodeUnreachable, "the link was closed")
_HUNG = Failure(NodeUnreachable, "did not answer in time; its stream was ended", told=False)
_BEHIND = Failure(NodeBusy, "is behind, and is left alone for a moment")

Open = Callable[[Events], Wire]


class _Told:
    """Events of one stream."""

    def __init__(self, link: "Link", stream: Stream) -> None:
        self.sent = partial(link.on_sent, stream)
        self.answered = partial(link.on_answer, stream)
        self.ended = partial(link.on_end, stream)


class Link:
    """*open_wire* begins a PushStream; see tasks/link_wire.py."""

    def __init__(self, open_wire: Open, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_wire = open_wire
        self._clock = clock
        self._lock = threading.Lock()
        self._window = Window()
        self._waiting: deque[Chunk] = deque()
        self._waiting_pushes = 0
        self._waiting_bytes = 0
        self._number = 0
        self._stream: Stream | None = None
        self._failure = _CLOSED  # how the last stream ended
        self._failures = 0  # streams in a row that were never answered
        self._again_at = 0.0
        self._unserved_until = 0.0
        self._closed = False

    @property
    def unserved(self) -> bool:
        """Whether the node said lately that it has no stream for us."""
        return self._unserved_until > 0 and self._clock() < self._unserved_until

    def age_s(self) -> float:
        """How long the oldest of what is here has been waiting for its answer; 0 when nothing is."""
        stream, waiting = self._stream, self._waiting
        try:
            at = stream.sent[0].sent_at if stream is not None and stream.sent else waiting[0].at
        except IndexError:  # nothing, or answered as we look
            return 0.0
        return self._clock() - at

    def hand_over(self, chunks: Sequence[Chunk]) -> None:
        """Send them, soon and in order; what cannot be sent is settled at once."""
        opening = turn = None
        now = self._clock()
        with self._lock:
            failure = self._failure_now(now)
            if failure is None:
                for chunk in chunks:
                    chunk.at = now
                    self._waiting_pushes += len(chunk.numbers)
                    self._waiting_bytes += len(chunk.data)
                self._waiting.extend(chunks)
                if self._stream is None:
                    self._stream = opening = Stream()
                else:
                    turn = self._turn(self._stream)
        if turn is not None:
            turn()
        elif opening is not None:
            self._open(opening)
        elif failure is not None:
            for chunk in chunks:
                chunk.settle(failure)

    def give_up(self, chunk: Chunk, hung_s: float) -> Failure | None:
        """Forget a chunk whose caller waits no more.  Gives what became of it where it is known: not sent, or hung.

        *hung_s*: a node that has had it for so long without an answer is taken for hung, and the stream is ended.
        """
        with self._lock:
            batch: Batch | None = chunk.place
            if batch is None:
                if chunk not in self._waiting:
                    return None  # settled by now
                self._waiting.remove(chunk)
                self._less(chunk)
                return UNSENT
            if batch.stream.ended or self._clock() - batch.sent_at < hung_s or batch not in batch.stream.sent:
                return None
        self._end(batch.stream, _HUNG)
        return _HUNG

    def close(self) -> None:
        """Fail what is here and whatever comes."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            self._end(stream, _CLOSED)

    def on_sent(self, stream: Stream) -> None:
        """See Events."""
        with self._lock:
            stream.sending = False
            turn = self._turn(stream)
        if turn is not None:
            turn()

    def on_answer(self, stream: Stream, data: bytes) -> None:
        """See Events."""
        reply = cloud_pb2.PushBatchReply.FromString(data)
        crowded: Sequence[Chunk] = ()
        with self._lock:
            if stream.ended:
                return
            batch = stream.answered(reply.seq)
            stream.proven = True
            if reply.end in (cloud_pb2.BATCH_BUSY, cloud_pb2.BATCH_LATE):
                now = self._clock()
                self._window.refused(batch.size, batch.number, self._number, now)
                if self._window.paused(now):
                    crowded = self._no_more_waiting()
            else:
                self._window.taken(batch.size)
            turn = self._turn(stream)
        batch.settle(reply)
        if turn is not None:
            turn()
        for chunk in crowded:
            chunk.settle(_BEHIND)

    def on_end(self, stream: Stream, code: grpc.StatusCode, details: str) -> None:
        """See Events."""
        self._end(stream, self._failure_of(stream, code, f"{code.name}: {details}"))

    def _failure_now(self, now: float) -> Failure | None:
        if self._closed:
            return _CLOSED
        if now < self._unserved_until:
            return UNSERVED
        if self._window.paused(now):
            return _BEHIND
        if self._waiting_pushes >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES:
            return Failure(NodeBusy, f"{self._waiting_pushes} pushes wait for it already")
        return self._failure if self._stream is None and now < self._again_at else None

    def _open(self, stream: Stream) -> None:
        try:
            wire = self._open_wire(_Told(self, stream))
        except ValueError as error:  # the channel was closed under us
            self._end(stream, Failure(NodeUnreachable, str(error)))
            return
        except NoWire:
            self._unserved_until = self._clock() + _NO_STREAMS_S
            self._end(stream, UNSERVED)
            return
        with self._lock:
            stream.wire = wire
            turn = self._turn(stream)
        if turn is not None:
            turn()
        elif stream.ended:
            wire.cancel()

    def _turn(self, stream: Stream) -> Callable[[], None] | None:
        """Take a batch that may go, and give what sends it; under the lock, to be called after it."""
        if stream.ended or stream.sending or stream.wire is None or not self._waiting:
            return None
        full = self._waiting_pushes >= MOST_PUSHES or self._waiting_bytes >= MOST_BYTES
        if not self._window.room(full=full):
            return None
        batch = self._next_batch(stream)
        data = batch.data()
        self._window.sent(batch.size)
        stream.sending = True
        stream.sent.append(batch)
        return partial(stream.wire.send, data)

    def _next_batch(self, stream: Stream) -> Batch:
        chunks: list[Chunk] = []
        pushes = size = 0
        while self._waiting:
            chunk = self._waiting[0]
            pushes += len(chunk.numbers)
            size += len(chunk.data)
            if chunks and (pushes > MOST_PUSHES or size > MOST_BYTES):
                break
            chunks.append(self._waiting.popleft())
            self._less(chunk)
        self._number += 1
        return Batch(stream, self._number, chunks, self._clock())

    def _less(self, chunk: Chunk) -> None:
        self._waiting_pushes -= len(chunk.numbers)
        self._waiting_bytes -= len(chunk.data)

    def _no_more_waiting(self) -> list[Chunk]:
        chunks = list(self._waiting)
        self._waiting.clear()
        self._waiting_pushes = self._waiting_bytes = 0
        return chunks

    def _failure_of(self, stream: Stream, code: grpc.StatusCode, reason: str) -> Failure:
        """Say what the end of a stream means for those whose pushes it did not answer."""
        if not stream.proven:
            if code is grpc.StatusCode.UNIMPLEMENTED:
                self._unserved_until = self._clock() + _NO_STREAMS_S
                return UNSERVED
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._unserved_until = self._clock() + _NO_STREAM_LEFT_S
                return UNSERVED
            if code in _NEVER:
                return Failure(NodeRefused, reason)
        return Failure(NodeUnreachable, reason)

    def _end(self, stream: Stream, failure: Failure) -> None:
        """Mark a stream as ended and fail all that it did not answer, and what waits for it; only once."""
        with self._lock:
            if stream.ended:
                return
            stream.ended = True
            self._stream = None
            self._failure = failure
            # A hung node is suspect: who may ask it when is not said here.
            self._failures = 0 if stream.proven or failure is _HUNG else self._failures + 1
            self._again_at = self._clock() + _backoff_s(self._failures)
            lost = [*stream.lost(), *self._no_more_waiting()]
            self._window.empty()
            wire = stream.wire
        for chunk in lost:
            chunk.settle(failure)
        if wire is not None:
            wire.cancel()


def _backoff_s(failures: int) -> float:
    return min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (failures - 1)) if failures else 0.0
