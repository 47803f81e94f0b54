"""The gRPC call under a link, for tests that say what happens on it and when; nothing runs by itself.

Events come on the test's thread.  A wire takes one message at a time, and says so loudly when it is given two.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from proto import cloud_pb2
from proto.message import Message, Push
from tasks.link import Link
from tasks.link_parcel import Chunk, Failure, Parcel, Waiting
from tasks.link_wire import Events, Wire


class ScriptedWire(Wire):
    """One call."""

    def __init__(self, events: Events) -> None:
        super().__init__(events)
        self.events = events
        self.batches: list[cloud_pb2.PushBatch] = []
        self.taken = True
        self.cancelled = False

    def send(self, data: bytes) -> None:
        assert self.taken, "a second message before the first was taken"
        self.taken = False
        self.batches.append(cloud_pb2.PushBatch.FromString(data))

    def cancel(self) -> None:
        self.cancelled = True

    def take(self) -> None:
        """gRPC has taken the message."""
        self.taken = True
        self.events.sent()

    def answer(self, number: int, end: int = cloud_pb2.BATCH_DONE, *, replies: int | None = None) -> None:
        """The node answers the batch of this *number*: one session for each push."""
        batch = next(batch for batch in self.batches if batch.seq == number)
        count = (len(batch.pushes) if end == cloud_pb2.BATCH_DONE else 0) if replies is None else replies
        one = cloud_pb2.PushMsgReply(outcomes=[1], sessions=[1])  # type: ignore[list-item]
        reply = cloud_pb2.PushBatchReply(seq=number, end=end, replies=[one] * count)  # type: ignore[arg-type]
        self.events.answered(reply.SerializeToString())

    def end(self, code: grpc.StatusCode, details: str = "so it is") -> None:
        """The call ends."""
        self.events.ended(code, details)

    @property
    def sizes(self) -> list[int]:
        """Pushes of each batch."""
        return [len(batch.pushes) for batch in self.batches]


@dataclass
class LinkWorld:
    """A link, the wires that it opened, and a clock.  *opening* runs as a wire is opened."""

    opening: Callable[[], None] = lambda: None
    now: float = 100.0
    wires: list[ScriptedWire] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = Link(self._open, lambda: self.now)

    def _open(self, events: Events) -> Wire:
        wire = ScriptedWire(events)
        self.wires.append(wire)
        self.opening()
        return wire

    @property
    def wire(self) -> ScriptedWire:
        """The newest."""
        return self.wires[-1]

    def hand_over(self, pushes: int = 1, size: int = 0) -> Chunk:
        """Hand over one chunk of so many pushes."""
        push = Push("01J0", ("a",), Message(9, b'"%s"' % (b"x" * size)))
        (chunk,) = Parcel("here:1#b", [(push, ("a",))] * pushes).chunks(Waiting())
        self.link.hand_over([chunk])
        return chunk


def failure_of(chunk: Chunk) -> Failure:
    """How a chunk failed."""
    assert isinstance(chunk.result, Failure), chunk.result
    return chunk.result
