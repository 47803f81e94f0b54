"""What the far end of a batch stream may do, and a push that is sent there."""

import threading
from collections.abc import Iterator
from typing import Any

from proto import cloud_pb2
from proto.errors import NodeError
from proto.message import KeyOutcome, Message, Outcome, Push
from tasks.link_parcel import Answer
from tasks.nodes import Nodes
from tests.fakes.cloud_node import FakeNode

OK = {"a": KeyOutcome(Outcome.DELIVERED, 1)}
Batches = Iterator[cloud_pb2.PushBatch]
Replies = Iterator[cloud_pb2.PushBatchReply]


def never(_request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
    raise AssertionError("a unary call")


def reply_to(batch: cloud_pb2.PushBatch) -> cloud_pb2.PushBatchReply:
    """One session for each push; none for "nobody"; no answer but an error for "bad"."""
    replies = []
    for push in batch.pushes:
        outcomes = [2 if key == "nobody" else 1 for key in push.keys]
        one = cloud_pb2.PushMsgReply(outcomes=outcomes, sessions=[each % 2 for each in outcomes])  # type: ignore[arg-type]
        replies.append(cloud_pb2.PushMsgReply(error="as bad as it looks") if "bad" in push.keys else one)
    return cloud_pb2.PushBatchReply(seq=batch.seq, replies=replies)


def answer_all(batches: Batches, _context: Any) -> Replies:
    return map(reply_to, batches)


class Hangs:
    """Answers nothing until it is let go; then everything."""

    def __init__(self) -> None:
        self.got = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, batches: Batches, context: Any) -> Replies:
        over = threading.Event()
        context.add_callback(over.set)
        for batch in batches:
            self.got.release()
            while not self.let_go.wait(0.02):
                if over.is_set():
                    return
            yield reply_to(batch)


def push(*keys: str) -> tuple[Push, tuple[str, ...]]:
    keys = keys or ("a",)
    return Push("01J0", keys, Message(9, b"null")), keys


def push_one(nodes: Nodes, node: FakeNode, **options: bool) -> Answer:
    ((answer,),) = nodes.push_all({node.address: [push()]}, **options).values()
    return answer


def error_of(answer: Answer) -> NodeError:
    assert isinstance(answer, NodeError), answer
    return answer
