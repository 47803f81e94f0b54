"""The promise behind a 202: the broker has confirmed the task, so the push will be dispatched or end with a name.

Refuses to validate (app/requests.py), to write to the store (app/promise.py does, before), and to promise what could
not be kept: with the store down, a push whose keys would have to be looked up is refused; one with an explicit `server`
needs no look-up and flows.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import orjson
import structlog

from app.broker import Call
from app.errors import Overloaded
from app.metrics import Metrics
from app.turn import Turn
from proto import queues
from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.exposition import exemplar
from proto.message import Push
from proto.queues import Priority
from tasks.courtesy import Courtesy

_ONE_IN = 16  # pushes is named in the histogram: to name each would cost more than to count it

NotAccepted = BrokerUnavailable | StoreUnavailable | Overloaded

log = structlog.get_logger(__name__)


class Commits(Protocol):
    """Where tasks go."""

    def check(self) -> None:
        """Raise BrokerUnavailable if a commit would be refused at once."""

    def commit(self, call: Call, timeout_s: float) -> None:
        """Return when *call* is confirmed; raise BrokerUnavailable otherwise."""

    def commit_all(self, calls: Sequence[Call], timeout_s: float) -> list[BrokerUnavailable | None]:
        """Wait for all; give what kept each from being confirmed.  Raises BrokerUnavailable: none was taken."""


class Acceptor:
    """Turns an accepted call into a confirmed task, which it may share with others."""

    def __init__(
        self,
        committer: Commits,
        *,
        store_is_up: Callable[[], bool],
        confirm_deadline_s: float,
        check_load: Callable[[Priority], None] = lambda _: None,
        metrics: Metrics,
        courtesy: Courtesy,
    ) -> None:
        self._committer = committer
        self._store_is_up = store_is_up
        self._confirm_deadline_s = confirm_deadline_s
        self._check_load = check_load
        self._metrics = metrics
        self._courtesy = courtesy
        self._sampled = 0  # threads that count at once lose one, which is as good

    def accept(self, push: Push, *, delay_s: int = 0) -> None:
        """Return when *push* is safe with the broker, which keeps it back for *delay_s* seconds.

        Raises StoreUnavailable, BrokerUnavailable, Overloaded: nothing promised.
        """
        self._courtesy.note(push.priority)
        if not push.recorded:  # one that is has been checked before it was written
            self._check_load(push.priority)
        if push.server is None:
            self._check_store()
        began = time.perf_counter()
        self._committer.commit(call_of(push, delay_s), self._confirm_deadline_s)
        self._confirmed(push, began)

    def begin(self, push: Push, turn: Turn) -> None:
        """Do as :meth:`accept` without waiting: *turn* keeps the answer back.  Raises as :meth:`accept` does."""
        self._courtesy.note(push.priority)
        self._check_load(push.priority)
        if push.server is None:
            self._check_store()
        began = time.perf_counter()
        self._committer.check()
        turn.hold(call_of(push), partial(self._confirmed, push, began))

    def accept_all(self, pushes: Sequence[Push], delays_s: Sequence[int]) -> list[NotAccepted | None]:
        """Do as :meth:`accept` for each, under one deadline; gives what kept each from being safe, if anything."""
        for push in pushes:
            self._courtesy.note(push.priority)
        ends = [self._obstacle(push) for push in pushes]
        sent = [at for at, obstacle in enumerate(ends) if obstacle is None]
        began = time.perf_counter()
        try:
            calls = [call_of(pushes[at], delays_s[at]) for at in sent]
            answers = self._committer.commit_all(calls, self._confirm_deadline_s) if calls else []
        except BrokerUnavailable as error:
            answers = [error] * len(sent)
        for at, answer in zip(sent, answers, strict=True):
            ends[at] = answer
            if answer is None:
                self._confirmed(pushes[at], began)
        return ends

    def check(self, priority: Priority) -> None:
        """Raise StoreUnavailable, BrokerUnavailable or Overloaded if a push cannot be both recorded and sent now."""
        self._check_store()
        self._committer.check()
        self._check_load(priority)

    def count(self, push: Push) -> None:
        """Note that *push* was promised; only what leaves a record is told, too."""
        self._metrics.accepted_by[push.priority].inc()
        if push.durable:
            self._metrics.durable.inc()
        if push.recorded:
            log.info("push_accepted", push_id=push.push_id, keys=len(push.keys), priority=push.priority.value)

    def disconnect(self, task_id: str, keys: Sequence[str]) -> None:
        """Have every session of *keys* closed; raises as :meth:`accept` does."""
        self._check_load(Priority.HIGH)
        self._check_store()
        shown = f"({task_id}, {len(keys)} keys)"
        call = Call(task_id, queues.DISCONNECT_TASK, queues.Priority.HIGH.queue, orjson.dumps(list(keys)), shown)
        self._committer.commit(call, self._confirm_deadline_s)
        log.info("disconnect_accepted", task_id=task_id, keys=len(keys))

    def _obstacle(self, push: Push) -> NotAccepted | None:
        try:
            if not push.recorded:
                self._check_load(push.priority)
            if push.server is None:
                self._check_store()
        except (Overloaded, StoreUnavailable) as error:
            return error
        return None

    def _confirmed(self, push: Push, began: float) -> None:
        self._sampled = (self._sampled + 1) % _ONE_IN
        named = None if self._sampled else exemplar(push.push_id)
        self._metrics.accept_seconds.observe(time.perf_counter() - began, named)
        self.count(push)

    def _check_store(self) -> None:
        if not self._store_is_up():
            raise StoreUnavailable(_NO_STORE)


_NO_STORE = "the store does not answer, so the keys cannot be looked up"


def call_of(push: Push, delay_s: int = 0) -> Call:
    """Give the call that has *push* dispatched."""
    return Call(
        push.push_id,
        queues.PUSH_TASK,
        push.priority.queue,
        orjson.dumps(push.to_payload()),
        # Flower shows this; the body is the caller's business.
        f"({push.push_id}, {len(push.keys)} keys, op {push.message.op})",
        delay_s,
    )
