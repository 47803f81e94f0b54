"""What one call of ``Nodes.push_all`` sends to one node, in chunks that fit into a batch, and what becomes of each.

The caller's thread makes the bytes, and reads the answers: what a link's own threads do for a push is next to nothing.
A chunk is a PushBatch without a number, serialized; a link joins what it sends together (tasks/link_batch.py).

Interleaving: *a chunk is settled while its caller gives it up.*  ``result`` is assigned once by whoever settles it and
read once by the caller: an answer that comes too late is not looked at.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from proto import cloud_pb2
from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from proto.message import KeyOutcome, Outcome, Push, outcomes_from_reply

MOST_PUSHES = 100  # of a batch: a long one would keep the node's hub from its sockets
MOST_BYTES = 2 * 1024 * 1024  # of a batch, unless a single push is larger
_MOST_OF_ONE = 4 * 1024 * 1024 - 64  # what gRPC takes in one message, less what a batch has besides pushes
_FRAME = 8  # bytes that a batch adds for each push, at most

Item = tuple[Push, Sequence[str]]
Answer = Mapping[str, KeyOutcome] | NodeError


class Failure(NamedTuple):
    """Why a chunk has no answer.  *told*: the node, or its host, said so; nobody had to wait for it."""

    kind: type[NodeError]
    reason: str
    told: bool = True


class Replies(NamedTuple):
    """The node's answer: that part of its replies that begins at *first*."""

    replies: Sequence[Any]
    first: int


UNSERVED = Failure(NodeRefused, "the node serves no batch streams")
UNSENT = Failure(NodeBusy, "was not sent in time: too much waits for this node", told=False)
UNANSWERED = Failure(NodeUnreachable, "no answer in time", told=False)


class Waiting:
    """How many chunks of one call are not settled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._none_left = threading.Lock()
        self._none_left.acquire()
        self._left = 1  # the call's own, so that it does not end while it hands over

    def more(self, count: int) -> None:
        """So many more."""
        with self._lock:
            self._left += count

    def one_less(self) -> None:
        """One is settled, or the call has handed over all."""
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._none_left.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all are settled; once it gave True, it must not be asked again."""
        return self._none_left.acquire(timeout=max(0.0, timeout_s))


class Chunk:
    """Pushes that go together: those of these *numbers* in their parcel.  *place* is its link's to use."""

    __slots__ = ("_waiting", "at", "data", "numbers", "place", "result")

    def __init__(self, data: bytes, numbers: Sequence[int], waiting: Waiting) -> None:
        self.data = data
        self.numbers = numbers
        self.at = 0.0  # when it was handed over
        self.place: Any = None
        self.result: Replies | Failure | None = None
        self._waiting = waiting

    def settle(self, result: Replies | Failure) -> None:
        """Say what became of it; at most once."""
        self.result = result
        self._waiting.one_less()


class Parcel:
    """The pushes of one call for one node."""

    def __init__(self, node: str, items: Sequence[Item]) -> None:
        self.node = node
        self.items = items
        self.answers: list[Answer | None] = [None] * len(items)

    def chunks(self, waiting: Waiting) -> list[Chunk]:
        """Make them; what no node would take is refused here."""
        chunks: list[Chunk] = []
        requests: list[cloud_pb2.PushMsgReq] = []
        numbers: list[int] = []
        size = 0
        for number, (push, keys) in enumerate(self.items):
            request = push.to_request(keys)
            its_size = request.ByteSize() + _FRAME
            if its_size > _MOST_OF_ONE:
                self.answers[number] = too_large(self.node, its_size)
                continue
            if numbers and (len(numbers) == MOST_PUSHES or size + its_size > MOST_BYTES):
                chunks.append(_chunk(requests, numbers, waiting))
                requests, numbers, size = [], [], 0
            requests.append(request)
            numbers.append(number)
            size += its_size
        if numbers:
            chunks.append(_chunk(requests, numbers, waiting))
        return chunks

    def fail(self, failure: Failure) -> None:
        """Give this to every push that has no answer."""
        for number in self.unanswered():
            self.answers[number] = failure.kind(self.node, failure.reason)

    def read(self, chunk: Chunk) -> bool:
        """Read what a chunk came to, unless no stream took it; tells whether the node, or its host, said anything."""
        result = chunk.result or UNANSWERED
        if isinstance(result, Failure):
            if result is not UNSERVED:
                for number in chunk.numbers:
                    self.answers[number] = result.kind(self.node, result.reason)
            return result.told
        first = result.first
        replies = result.replies[first : first + len(chunk.numbers)]
        for number, reply in zip(chunk.numbers, replies, strict=True):
            self.answers[number] = read_reply(self.node, self.items[number][1], reply)
        return True

    def unanswered(self) -> list[int]:
        """Number the pushes that have no answer."""
        return [number for number, answer in enumerate(self.answers) if answer is None]


def _chunk(requests: Sequence[cloud_pb2.PushMsgReq], numbers: Sequence[int], waiting: Waiting) -> Chunk:
    return Chunk(cloud_pb2.PushBatch(pushes=requests).SerializeToString(), numbers, waiting)


def too_large(node: str, size: int) -> NodeRefused:
    """Refuse what gRPC would not carry; it would say "exhausted", as if time could mend that."""
    return NodeRefused(node, f"{size} bytes are more than a node takes")


def read_reply(node: str, keys: Sequence[str], reply: cloud_pb2.PushMsgReply) -> Answer:
    """Read the reply to one push."""
    outcomes = reply.outcomes
    if len(keys) == 1 and len(outcomes) == 1 and outcomes[0] in _KNOWN:
        sessions = reply.sessions
        return {keys[0]: _one_key(outcomes[0], sessions[0] if sessions else 0)}
    if reply.error:
        return NodeRefused(node, reply.error)
    try:
        return outcomes_from_reply(keys, reply)
    except ValueError as error:
        return NodeRefused(node, f"its reply makes no sense: {error}")


_KNOWN = frozenset(outcome.value for outcome in Outcome)


@lru_cache(1024)
def _one_key(outcome: int, sessions: int) -> KeyOutcome:
    """Most pushes have one key and few different answers: each is made once."""
    return KeyOutcome(Outcome(outcome), sessions)
