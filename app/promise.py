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

Refuses to validate (app/requests.py) and to publish (app/accept.py).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from app.accept import Acceptor
from app.errors import RequestIdReused, RequestUnderWay
from app.metrics import Metrics
from app.records import Records
from app.waiting import Waiters
from proto.errors import StoreUnavailable
from proto.message import Push
from store.batch import Batch
from store.receipts import State
from store.requests import Claim, ClaimKind

GRACE_MS = 15_000  # what no worker has by then is published again

log = structlog.get_logger(__name__)


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
        self._records = records
        self._waiters = waiters
        self._now_ms = now_ms
        self._broker_delays = broker_delays
        self._claim_deadline_s = claim_deadline_s
        self._metrics = metrics

    def accept(self, push: Push, *, digest: str = "", traced: bool = False) -> str:
        """Give the id of the push once its promise can be kept, which is another push's if this is a repeated call.

        *digest* stands for the body of a call with a request_id.  Raises StoreUnavailable, BrokerUnavailable,
        RequestUnderWay, TooManyWaiting: nothing was promised; RequestIdReused.
        """
        if push.request_id is None:
            self._promise(push, traced=traced)
            return push.push_id
        self._acceptor.check()
        claim = self._claim(push, push.request_id, digest)
        if claim.kind is ClaimKind.DONE:
            self._metrics.repeated.inc()
            return claim.push_id
        try:
            self._promise(replace(push, push_id=claim.push_id, claim=claim.claim), traced=traced, claim=claim)
        except StoreUnavailable:
            raise  # what was sent there may yet be done: the claim stays until its time is over
        except Exception:
            self._close(self._records.requests.release, push.request_id, claim)
            raise
        self._close(self._records.requests.done, push.request_id, claim)
        return claim.push_id

    def _claim(self, push: Push, request_id: str, digest: str) -> Claim:
        ask = partial(self._records.requests.claim, request_id, digest, push.push_id)
        claim = ask()
        if claim.kind is ClaimKind.BUSY:
            with self._waiters.seat():
                claim = self._waiters.until(ask, lambda seen: seen.kind is not ClaimKind.BUSY, self._claim_deadline_s)
        if claim.kind is ClaimKind.CONFLICT:
            raise RequestIdReused(request_id)
        if claim.kind is ClaimKind.BUSY:
            raise RequestUnderWay(request_id)
        return claim

    def _promise(self, push: Push, *, traced: bool, claim: Claim | None = None) -> None:
        if not push.recorded:
            self._acceptor.accept(push)
            return
        self._acceptor.check()
        try:
            written = self._write(push, traced=traced, claim=claim)
            if push.not_before_ms and not self._broker_delays:
                self._acceptor.count(written)
            else:
                self._acceptor.accept(written, delay_s=self._whole_seconds_until(push.not_before_ms))
        except Exception:
            if push.request_id is None:
                self._withdraw(push)
            raise

    def _write(self, push: Push, *, traced: bool, claim: Claim | None) -> Push:
        """Do step 2; gives the push with its places, and the times by which the inboxes keep it."""
        batch, records, scheduled = self._records.batch(), self._records, bool(push.not_before_ms)
        if push.durable or scheduled:
            records.pending.add(batch, push.push_id, self._due_again_ms(push))
        records.receipts.create(batch, push, State.SCHEDULED if scheduled else State.ACCEPTED, traced=traced)
        keys = push.keys if push.durable and not scheduled else ()
        ttl_ms = push.expires_ms - push.accepted_ms
        append = partial(
            records.inbox.append,
            again=claim is not None and claim.again,
            alone_until_ms=claim.alone_until_ms if claim is not None else None,
        )
        asked = [(key, append(batch, key, push.push_id, push.message, ttl_ms)) for key in keys]
        answers = batch.run()
        if not asked:
            return push
        appended = {key: records.inbox.appended(answers[at]) for key, at in asked}
        expires_ms = max(one.expires_ms for one in appended.values())
        return replace(
            push,
            places={key: one.place for key, one in appended.items()},
            accepted_ms=expires_ms - ttl_ms,
            expires_ms=expires_ms,
        )

    def _due_again_ms(self, push: Push) -> int:
        """Say when the reconciler is to publish what no worker has had."""
        if push.not_before_ms and not self._broker_delays:
            return push.not_before_ms
        return max(push.not_before_ms, self._now_ms()) + GRACE_MS

    def _whole_seconds_until(self, due_ms: int) -> int:
        return max(0, -((self._now_ms() - due_ms) // 1000)) if due_ms else 0

    def _withdraw(self, push: Push) -> None:
        batch, records = self._records.batch(), self._records
        records.pending.remove(batch, push.push_id)
        records.receipts.forget(batch, push.push_id)
        for key in push.keys if push.durable else ():
            records.inbox.remove(batch, key, push.push_id)
        try:
            batch.run()
        except StoreUnavailable as error:
            self._metrics.withdrawals.labels("failed").inc()
            log.warning("push_not_withdrawn", push_id=push.push_id, reason=str(error))
        else:
            self._metrics.withdrawals.labels("done").inc()

    def _close(self, how: Callable[[Batch, str, str], int], request_id: str, claim: Claim) -> None:
        """End a claim, which ends by itself when the store is away."""
        batch = self._records.batch()
        how(batch, request_id, claim.claim)
        try:
            batch.run()
        except StoreUnavailable as error:
            log.warning("claim_left_open", push_id=claim.push_id, reason=str(error))
