"""One batch of pushes: checked, delivered, answered.  A bad push among them costs only itself.

Made and answered on a thread of gRPC's, delivered on the hub's.
"""

import time
from collections.abc import Generator
from functools import lru_cache

import structlog

from cloud_node import metrics
from cloud_node.delivery import Deliverer, Delivery
from cloud_node.requests import Refused, from_push
from proto import cloud_pb2
from proto.message import KeyOutcome, Outcome, reply_from_outcomes

MAX_PUSHES = 1_000

Answer = dict[str, KeyOutcome] | str  # a text: why nothing was delivered

log = structlog.get_logger()


class Batch:
    """The pushes of one PushBatch.  Raises Refused when they are too many."""

    def __init__(self, request: cloud_pb2.PushBatch) -> None:
        pushes = request.pushes
        if len(pushes) > MAX_PUSHES:
            raise Refused(f"{len(pushes)} pushes are more than {MAX_PUSHES}")
        self._seq = request.seq
        self._items = [_checked(push) for push in pushes]
        self.push_id = pushes[0].push_id if pushes else ""  # one of them, for metrics
        self._checked_at = time.monotonic()

    def deliver(self, deliverer: Deliverer) -> Generator[None, None, list[Answer]]:
        """Deliver the pushes in their order; yields between them, and returns what became of each."""
        metrics.observe(metrics.HUB_WAIT_SECONDS, time.monotonic() - self._checked_at, self.push_id)
        answers: list[Answer] = []
        for it in self._items:
            if isinstance(it, str):
                answers.append(it)
                continue
            try:
                answers.append(deliverer.deliver(it))
            except Exception as error:
                log.exception("a push of a batch failed", push_id=it.push_id, reason=repr(error))
                answers.append(f"failed on the node: {error!r}")
            yield
        return answers

    def reply(self, answers: list[Answer]) -> cloud_pb2.PushBatchReply:
        """Give each push its answer, and count it."""
        metrics.count(outcome for answer in answers if isinstance(answer, dict) for outcome in answer.values())
        replies = [_reply(it, answer) for it, answer in zip(self._items, answers, strict=True)]
        return cloud_pb2.PushBatchReply(seq=self._seq, replies=replies)


def _checked(push: cloud_pb2.PushMsgReq) -> Delivery | str:
    try:
        return from_push(push)
    except Refused as refused:
        log.error("refused a push of a batch", reason=str(refused), push_id=push.push_id)
        return str(refused)


def _reply(it: Delivery | str, answer: Answer) -> cloud_pb2.PushMsgReply:
    if isinstance(it, str) or isinstance(answer, str):
        return cloud_pb2.PushMsgReply(error=str(answer))
    if len(it.keys) == 1:
        (only,) = answer.values()
        return _one_key(only.outcome, only.sessions)
    return reply_from_outcomes(it.keys, answer)


@lru_cache(1024)
def _one_key(outcome: Outcome, sessions: int) -> cloud_pb2.PushMsgReply:
    """Most pushes have one key and few different answers: each is made once, and copied into the batch's."""
    return cloud_pb2.PushMsgReply(outcomes=[outcome.value], sessions=[sessions])  # type: ignore[list-item]
