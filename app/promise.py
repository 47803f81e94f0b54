"""Pushes that leave something in the store: durable, traced, scheduled, and those with a request_id.

A durable push is in the inbox of each key before its task is on the broker, so the order of acceptance is the order of
delivery.  The steps, in this order:

0. *Look*: the broker or the store is known to be away: 503, nothing was done.
1. *Claim* the request_id, if there is one; wait while another call holds the claim; another body: 409.
2. *Write*, in one round trip and in this order: pending (durable and scheduled), receipt, inboxes (unless scheduled).
3. *Commit* the task; RabbitMQ keeps a scheduled one back.  The embedded broker cannot: there the pending entry, which
   is due when the push is, is all there is.
4. *Close* the claim.  202.

How each failure ends:

- *The process dies before 2.*  Nothing is left; a claim is taken over by the next call after 3 s, with its push_id.
- *It dies in or after 2, before the broker has the task.*  Nobody was promised anything, but what is pending is
  published by the reconciler after a while, as 503 or no answer at all allow.  The batch is cut off, if at all, at its
  end, so an inbox entry without a pending entry cannot be; a message that no inbox has yet is appended by the worker.
  A retry with the request_id goes on: it finds receipt and inbox entries (``again``) and publishes a second task.
- *It dies between 3 and 4.*  The task is dispatched.  A retry publishes another with the same push_id, but under
  a claim of its own, and workers dispatch only the claim that comes first; once it has come, the request counts as
  done.
- *The store fails in 2.*  It may have done any part of it: withdrawn, or with a request_id left as it is; 503.
- *The broker fails in 3*, by a refusal, a queue that is gone, or a confirm that does not come.  Without a request_id it
  is withdrawn: pending, receipt and inboxes are cleared, so that a refused push leaves nothing behind.  The task may
  yet arrive when only the confirm was lost: it is then delivered like an ephemeral one.  With a request_id the claim is
  released and the rest stays: another call may have taken the claim over, and what it promises is in the same places.
- *The store fails in a withdrawal*, or the process dies before it: as after 2.
- *The store fails in 4.*  202 all the same: the task is safe.  Retries are busy for 3 s, then as between 3 and 4.
- *Concurrent calls with one request_id.*  One has the claim; the others wait, up to the confirm deadline, and get its
  push_id, the claim if it was released, or 503; at once, if too many wait already.
- *A holder of a claim is slow for 3 s* and another takes over: both have the push_id, and publish a task each; one of
  them is dispatched.  The holder knows from when on its appends may come second (``alone_until_ms``) and then they look
  for the other's, so both find the same places.  For the same reason a claim is not released when the store failed
  in 2: the batch may still be on its way, and nobody may go on before that time.

Many pushes of one call go through the steps together, each step of all in one round trip, in the order of the call; so
that is the order of their offsets.  Each has a fate of its own:

- *One that is neither recorded nor named* goes to the broker at once, and waits for no other's steps.
- *Two with one request_id and one body* are one push; the claims of one round trip are made in order, so the second of
  two bodies is the one that is refused.
- *One that another call is at* is waited for when all others are done: no claim is held meanwhile, so two calls that
  wait for each other's come to an end.  If it is then to be carried out here, its offsets are later than theirs.
- *The process dies between steps*: as above for each; what is claimed is taken over after 3 s.

Refuses to validate (app/requests.py), to publish (app/accept.py), and to know what is written (app/writing.py) and how
claims are made (app/claiming.py).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.accept import Acceptor
from app.asked import Asked, Attempt, Ending
from app.claiming import Claiming
from app.errors import RequestIdReused, RequestUnderWay
from app.metrics import Metrics
from app.records import Records
from app.waiting import Waiters
from app.writing import Writing
from proto.errors import CloudpushError, StoreUnavailable
from proto.message import Push
from store.requests import Claim, ClaimKind


class Promises:
    """Accepts any push; *broker_delays* tells whether the broker keeps scheduled tasks back."""

    def __init__(
        self,
        acceptor: Acceptor,
        records: Records,
        waiters: Waiters,
        *,
        now_ms: Callable[[], int],
        broker_delays: bool,
        claim_deadline_s: float,
        metrics: Metrics,
    ) -> None:
        self._acceptor = acceptor
        self._claiming = Claiming(records, waiters)
        self._writing = Writing(records, now_ms=now_ms, broker_delays=broker_delays, metrics=metrics)
        self._now_ms = now_ms
        self._broker_delays = broker_delays
        self._claim_deadline_s = claim_deadline_s
        self._metrics = metrics

    def accept(self, push: Push, *, digest: str = "", traced: bool = False) -> str:
        """Give the id of the push once its promise can be kept, which is another push's if this is a repeated call.

        *digest* stands for the body of a call with a request_id.  Raises StoreUnavailable, BrokerUnavailable,
        Overloaded, RequestUnderWay, TooManyWaiting: nothing was promised; RequestIdReused.
        """
        if _is_plain(push):
            self._acceptor.accept(push)
            return push.push_id
        (ending,) = self._steps([Asked(push, digest, traced)], self.patience())
        if isinstance(ending, Exception):
            raise ending
        return ending

    def patience(self) -> float:
        """Give until when, by ``time.monotonic``, a call that begins now may wait for those with its request_ids."""
        return time.monotonic() + self._claim_deadline_s

    def accept_many(self, asked: Sequence[Asked], until: float) -> list[Ending]:
        """Do as :meth:`accept` for each, and give how each ended; *until* is the call's :meth:`patience`."""
        plain = [at for at, one in enumerate(asked) if _is_plain(one.push)]
        pushes = [asked[at].push for at in plain]
        errors = self._acceptor.accept_all(pushes, [0] * len(pushes)) if pushes else []
        endings: dict[int, Ending] = {
            at: error or push.push_id for at, push, error in zip(plain, pushes, errors, strict=True)
        }
        others = [at for at in range(len(asked)) if at not in endings]
        if others:
            endings |= zip(others, self._steps([asked[at] for at in others], until), strict=True)
        return [endings[at] for at in range(len(asked))]

    def _steps(self, asked: Sequence[Asked], until: float) -> list[Ending]:
        """Take those that leave something in the store through all steps."""
        endings: dict[int, Ending] = {
            at: obstacle for at, one in enumerate(asked) if (obstacle := self._obstacle(one.push)) is not None
        }
        stands_for = _first_alike(asked)
        firsts = [at for at in range(len(asked)) if stands_for[at] == at and at not in endings]
        named = [at for at in firsts if asked[at].push.request_id is not None]
        try:
            claims = self._claiming.claim([asked[at] for at in named]) if named else []
        except StoreUnavailable as error:
            return [endings.get(at, error) for at in range(len(asked))]
        held: dict[int, Claim | None] = dict.fromkeys(firsts) | dict(zip(named, claims, strict=True))
        busy = self._go_on(asked, held, endings)
        while busy:
            busy = self._wait(asked, busy, until, endings)
        for at, first in enumerate(stands_for):
            if at not in endings:
                endings[at] = self._repeated(endings[first])
        return [endings[at] for at in range(len(asked))]

    def _obstacle(self, push: Push) -> CloudpushError | None:
        """Do step 0."""
        try:
            self._acceptor.check(push.priority)
        except CloudpushError as error:
            return error
        return None

    def _go_on(self, asked: Sequence[Asked], held: Mapping[int, Claim | None], endings: dict[int, Ending]) -> list[int]:
        """Carry out what is unnamed or claimed by us, in order; gives what others are at, and the rest has ended."""
        attempts, busy = {}, []
        for at, claim in held.items():
            push, _, traced = asked[at]
            if claim is None:
                attempts[at] = Attempt(push, traced)
            elif claim.kind is ClaimKind.MINE:
                attempts[at] = Attempt(replace(push, push_id=claim.push_id, claim=claim.claim), traced, claim)
            elif claim.kind is ClaimKind.BUSY:
                busy.append(at)
            elif claim.kind is ClaimKind.DONE:
                endings[at] = self._repeated(claim.push_id)
            else:
                endings[at] = RequestIdReused(push.request_id or "")
        self._carry_out(list(attempts.values()))
        endings |= {at: attempt.error or attempt.push.push_id for at, attempt in attempts.items()}
        return busy

    def _wait(self, asked: Sequence[Asked], busy: Sequence[int], until: float, endings: dict[int, Ending]) -> list[int]:
        """Wait for some of what others are at; gives what is left: fewer, or none once the time is over."""
        try:
            claims = self._claiming.wait([asked[at] for at in busy], until)
        except CloudpushError as error:
            endings |= dict.fromkeys(busy, error)
            return []
        left = self._go_on(asked, dict(zip(busy, claims, strict=True)), endings)
        if len(left) < len(busy):
            return left
        endings |= {at: RequestUnderWay(asked[at].push.request_id or "") for at in busy}
        return []

    def _carry_out(self, attempts: Sequence[Attempt]) -> None:
        """Do steps 2 to 4; each attempt then has its error, if it failed."""
        try:
            if recorded := [attempt for attempt in attempts if attempt.push.recorded]:
                self._writing.write(recorded)
            self._commit([attempt for attempt in attempts if attempt.error is None])
        except Exception as error:  # noqa: BLE001 - a fault of ours, which their callers get: nothing may stay claimed
            for attempt in attempts:
                attempt.error = attempt.error or error
        failed = [attempt.push for attempt in attempts if attempt.error is not None]
        self._writing.withdraw([push for push in failed if push.recorded and push.request_id is None])
        self._claiming.close(attempts)

    def _commit(self, attempts: Sequence[Attempt]) -> None:
        sent = []
        for attempt in attempts:
            if attempt.push.not_before_ms and not self._broker_delays:
                self._acceptor.count(attempt.push)
            else:
                sent.append(attempt)
        if not sent:
            return
        delays_s = [self._whole_seconds_until(attempt.push.not_before_ms) for attempt in sent]
        errors = self._acceptor.accept_all([attempt.push for attempt in sent], delays_s)
        for attempt, error in zip(sent, errors, strict=True):
            attempt.error = error

    def _whole_seconds_until(self, due_ms: int) -> int:
        return max(0, -((self._now_ms() - due_ms) // 1000)) if due_ms else 0

    def _repeated(self, ending: Ending) -> Ending:
        if isinstance(ending, str):
            self._metrics.repeated.inc()
        return ending


def _is_plain(push: Push) -> bool:
    """Tell whether it leaves nothing in the store."""
    return not push.recorded and push.request_id is None


def _first_alike(asked: Sequence[Asked]) -> list[int]:
    """Give for each the first with its request_id and body, which stands for it."""
    firsts: dict[tuple[str, str], int] = {}
    return [
        at if one.push.request_id is None else firsts.setdefault((one.push.request_id, one.digest), at)
        for at, one in enumerate(asked)
    ]
