"""What one stream has sent, and how an answer is shared out among those whose chunks it is for.

Refuses to take part in the link's interleavings: its lock guards what is here.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from proto import cloud_pb2
from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from tasks.link_parcel import Chunk, Failure, Replies
from tasks.link_wire import Wire

_KINDS: dict[int, type[NodeError]] = {cloud_pb2.BATCH_BUSY: NodeBusy, cloud_pb2.BATCH_LATE: NodeUnreachable}


class Stream:
    """One call of PushStream."""

    __slots__ = ("ended", "proven", "sending", "sent", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None  # until gRPC has given the call
        self.sending = False  # gRPC takes one message at a time
        self.ended = False
        self.proven = False  # it was answered at least once
        self.sent: deque[Batch] = deque()

    def answered(self, number: int) -> "Batch":
        """Take out the oldest; raises ValueError when the answer is not to that one."""
        if not self.sent or self.sent[0].number != number:
            raise ValueError(f"it answered batch {number}, which is not the next")
        return self.sent.popleft()

    def lost(self) -> Iterator[Chunk]:
        """Give what has no answer."""
        for batch in self.sent:
            yield from batch.chunks


class Batch:
    """Chunks that are sent together."""

    __slots__ = ("chunks", "number", "sent_at", "size", "stream")

    def __init__(self, stream: Stream, number: int, chunks: Sequence[Chunk], sent_at: float) -> None:
        self.stream = stream
        self.number = number
        self.chunks = chunks
        self.sent_at = sent_at
        self.size = 0
        for chunk in chunks:
            chunk.place = self

    def data(self) -> bytes:
        """Give the PushBatch, once, and note its size.

        Serialized messages that are joined are the serialized merged message, in which lists follow one another
        (protobuf.dev/programming-guides/encoding, "Last One Wins").
        """
        numbered = cloud_pb2.PushBatch(seq=self.number).SerializeToString()
        data = b"".join([numbered, *(chunk.data for chunk in self.chunks)])
        self.size = len(data)
        return data

    def settle(self, reply: cloud_pb2.PushBatchReply) -> None:
        """Give each chunk its part of the answer."""
        replies = reply.replies
        failure = None
        if reply.end != cloud_pb2.BATCH_DONE:
            failure = Failure(_KINDS.get(reply.end, NodeRefused), reply.error)
        elif len(replies) != (pushes := sum(len(chunk.numbers) for chunk in self.chunks)):
            failure = Failure(NodeRefused, f"its reply makes no sense: {len(replies)} replies to {pushes} pushes")
        first = 0
        for chunk in self.chunks:
            chunk.settle(failure or Replies(replies, first))
            first += len(chunk.numbers)
