"""The first and the last step of pushes with a request_id: to claim it, and to end the claim.  Of many at a time.

Refuses to carry out what is claimed (app/promise.py).
"""

import time
from collections.abc import Sequence

import structlog

from app.asked import Asked, Attempt
from app.records import Records
from app.waiting import Waiters
from proto.errors import StoreUnavailable
from store.requests import Claim, ClaimKind

log = structlog.get_logger(__name__)


class Claiming:
    """Claims in few round trips.  Every method may raise StoreUnavailable, but :meth:`close`."""

    def __init__(self, records: Records, waiters: Waiters) -> None:
        self._records = records
        self._waiters = waiters

    def claim(self, asked: Sequence[Asked]) -> list[Claim]:
        """Claim each in this order; one round trip."""
        return self._records.requests.claims(
            [(one.push.request_id or "", one.digest, one.push.push_id) for one in asked]
        )

    def wait(self, asked: Sequence[Asked], until: float) -> list[Claim]:
        """Claim again what others are at, until one is to be carried out, or none is busy, or *until* is over.

        *until* is of ``time.monotonic``.  Raises TooManyWaiting.
        """
        seen: list[Claim | None] = [None] * len(asked)

        def look() -> list[Claim]:
            busy = [at for at, claim in enumerate(seen) if claim is None or claim.kind is ClaimKind.BUSY]
            for at, claim in zip(busy, self.claim([asked[at] for at in busy]), strict=True):
                seen[at] = claim
            return [claim for claim in seen if claim is not None]

        def settled(claims: list[Claim]) -> bool:
            kinds = {claim.kind for claim in claims}
            return ClaimKind.MINE in kinds or ClaimKind.BUSY not in kinds

        with self._waiters.seat():
            return self._waiters.until(look, settled, until - time.monotonic())

    def close(self, attempts: Sequence[Attempt]) -> None:
        """End the claims of what is done, and give back those of what failed; one round trip.

        What the store failed at may yet be done: such a claim stays until its time is over.  So do all when the store
        is away.
        """
        batch, requests = self._records.batch(), self._records.requests
        closed: list[str] = []
        for attempt in attempts:
            if attempt.claim is None or attempt.push.request_id is None:
                continue
            if isinstance(attempt.error, StoreUnavailable):
                continue
            how = requests.done if attempt.error is None else requests.release
            how(batch, attempt.push.request_id, attempt.claim.claim)
            closed.append(attempt.claim.push_id)
        if not closed:
            return
        try:
            batch.run()
        except StoreUnavailable as error:
            log.warning("claims_left_open", push_ids=closed[:10], count=len(closed), reason=str(error))
