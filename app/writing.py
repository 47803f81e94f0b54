"""What recorded pushes leave in the store before their tasks are sent, and how it is taken back.  Of many at a time.

Refuses to decide when (app/promise.py), and to hold one push's failure against the others of a round trip.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import structlog

from app.asked import Attempt
from app.metrics import Metrics
from app.records import Records
from proto.errors import StoreUnavailable
from proto.message import Push
from store.batch import Batch
from store.receipts import State

GRACE_MS = 15_000  # what no worker has by then is published again

log = structlog.get_logger(__name__)


class Writing:
    """Writes and withdraws; *broker_delays* tells whether the broker keeps scheduled tasks back."""

    def __init__(self, records: Records, *, now_ms: Callable[[], int], broker_delays: bool, metrics: Metrics) -> None:
        self._records = records
        self._now_ms = now_ms
        self._broker_delays = broker_delays
        self._metrics = metrics

    def write(self, attempts: Sequence[Attempt]) -> None:
        """Write each in this order; one round trip.

        Each push gets its places, and the times by which the inboxes keep it, or else its error.
        """
        batch = self._records.batch()
        spans = []
        for attempt in attempts:
            began = len(batch)
            appends = self._add(batch, attempt)
            spans.append((slice(began, len(batch)), appends))
        try:
            answers = batch.outcomes()
        except StoreUnavailable as error:
            for attempt in attempts:
                attempt.error = error
            return
        for attempt, (span, appends) in zip(attempts, spans, strict=True):
            attempt.error = next(_errors(answers[span]), None)
            if attempt.error is None and appends:
                attempt.push = self._placed(attempt.push, {key: answers[at] for key, at in appends})

    def withdraw(self, pushes: Sequence[Push]) -> None:
        """Clear the store of *pushes*, one round trip; what it cannot be cleared of now is left, and counted."""
        if not pushes:
            return
        batch, records = self._records.batch(), self._records
        for push in pushes:
            records.pending.remove(batch, push.push_id)
            records.receipts.forget(batch, push.push_id)
            for key in push.keys if push.durable else ():
                records.inbox.remove(batch, key, push.push_id)
        try:
            failed = next(_errors(batch.outcomes()), None)
        except StoreUnavailable as error:
            failed = error
        self._metrics.withdrawals.labels("failed" if failed else "done").inc(len(pushes))
        if failed is not None:
            ids = [push.push_id for push in pushes]
            log.warning("pushes_not_withdrawn", push_ids=ids[:10], count=len(ids), reason=str(failed))

    def _add(self, batch: Batch, attempt: Attempt) -> list[tuple[str, int]]:
        """Add what *attempt* writes; gives where the answers to its appends will be."""
        push, claim, records = attempt.push, attempt.claim, self._records
        scheduled = bool(push.not_before_ms)
        if push.durable or scheduled:
            records.pending.add(batch, push.push_id, self._due_again_ms(push))
        state = State.SCHEDULED if scheduled else State.ACCEPTED
        records.receipts.create(batch, push, state, traced=attempt.traced)
        if scheduled or not push.durable:
            return []
        again, until_ms = (claim.again, claim.alone_until_ms) if claim is not None else (False, None)
        ttl_ms = push.expires_ms - push.accepted_ms
        return [
            (
                key,
                records.inbox.append(
                    batch, key, push.push_id, push.message, ttl_ms, again=again, alone_until_ms=until_ms
                ),
            )
            for key in push.keys
        ]

    def _placed(self, push: Push, answers: dict[str, object]) -> Push:
        appended = {key: self._records.inbox.appended(answer) for key, answer in answers.items()}
        expires_ms = max(one.expires_ms for one in appended.values())
        return replace(
            push,
            places={key: one.place for key, one in appended.items()},
            accepted_ms=expires_ms - (push.expires_ms - push.accepted_ms),
            expires_ms=expires_ms,
        )

    def _due_again_ms(self, push: Push) -> int:
        """Say when the reconciler is to publish what no worker has had."""
        if push.not_before_ms and not self._broker_delays:
            return push.not_before_ms
        return max(push.not_before_ms, self._now_ms()) + GRACE_MS


def _errors(answers: Sequence[object]) -> Iterator[Exception]:
    return (answer for answer in answers if isinstance(answer, Exception))
