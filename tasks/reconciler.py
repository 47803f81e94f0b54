"""Reconciler: finds recorded pushes that no worker has had, and publishes their tasks (again).  A duty of workers.

A push is on Pending (store/pending.py) from before its task is published until a worker has it.  What is due there had
its task lost between the two: the REST process died, the broker lost it, or refused it after the promise.  On the
embedded broker, which keeps no delays, a scheduled push is published only here, when it is due.

One native thread in each worker; the one that holds the lease does the work, a bounded batch each turn.  Refuses to
send pushes to nodes and to say how they end: their tasks do.

Whatever goes wrong, the push stays on Pending, and is published once more after the next delay.  Nothing here is
exclusive, so nothing here has to be exact:

- *it publishes, and dies before it postpones*: the next leader publishes again; the second task is the same task twice.
- *the lease ends in the middle of a turn* (a pause of this process, Redis restarted): two workers publish the same
  pushes; the same.  A turn is given up when half its lease is over.
- *a worker takes the push between the look and the publish*: the task comes a second time; the same.  Postponing does
  not bring it back onto Pending.
- *the task was never lost, only late* (a long queue): the same.  Delays double with the age of the push, so that a
  worker tier that is behind is not given the same work again and again.
- *the broker is away*: nothing is postponed that was not published; the turn ends.  *The store is away*: nothing is
  known to be due.
- *there is nothing to publish* (the push was taken, withdrawn or cancelled, its receipt expired): off Pending.
- *nobody can read it*: a dead letter, off Pending.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.message import Push
from store.batch import Batch
from store.clock import StoreClock
from store.pending import Pending
from store.receipts import Receipts
from tasks import metrics, requeue
from tasks.outlet import Outlet

_BATCH = 100
_FIRST_DELAY_MS, _LAST_DELAY_MS = 15_000, 600_000
_LEASE_TURNS = 5
_SHORTEST_LEASE_S = 5.0

log = structlog.get_logger()


class Reconciler(threading.Thread):
    """Looks every *every_s* seconds until :meth:`stop`.  *owner* is a name that no other worker has."""

    def __init__(
        self,
        client: redis.Redis,
        pending: Pending,
        receipts: Receipts,
        clock: StoreClock,
        outlet: Outlet,
        *,
        owner: str,
        every_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._client = client
        self._pending = pending
        self._receipts = receipts
        self._clock = clock
        self._outlet = outlet
        self._owner = owner
        self._every_s = every_s
        self._lease_s = max(_SHORTEST_LEASE_S, _LEASE_TURNS * every_s)
        self._monotonic = monotonic
        self._ended = threading.Event()
        self._trouble = ""

    def stop(self) -> None:
        """End after the push that is being published."""
        self._ended.set()
        self.join(2 * requeue.PUBLISH_DEADLINE_S)

    def run(self) -> None:
        """Take a turn every so often; at once again while there is more to do."""
        more = False
        while not self._ended.wait(0 if more else self._every_s):
            try:
                more = self.turn()
            except (StoreUnavailable, BrokerUnavailable) as error:
                more = False
                self._say(str(error))
            except Exception:  # whatever it is, it must not end a duty that nobody else notices
                more = False
                log.exception("the reconciler stumbled")
            else:
                self._say("")
        self._outlet.close()

    def turn(self) -> bool:
        """Look once, if this worker leads; True when there is more to do.

        Raises StoreUnavailable, and BrokerUnavailable: then the rest of the batch is as it was.
        """
        # Also keeps the time of a worker that has nothing to do.
        self._clock.ask(self._client)
        leads = self._pending.lead(self._owner, self._lease_s)
        metrics.LEADING.set(leads)
        if not leads:
            metrics.PENDING.set(0)
            metrics.PENDING_LATE_SECONDS.set(0)
            return False
        until = self._monotonic() + self._lease_s / 2
        push_ids = self._pending.due(_BATCH)
        batch = Batch(self._client)
        try:
            for push_id in push_ids:
                if self._ended.is_set() or self._monotonic() > until:
                    break
                self._reconcile(batch, push_id)
        finally:
            batch.run()
        self._measure()
        return len(push_ids) == _BATCH

    def _reconcile(self, batch: Batch, push_id: str) -> None:
        now_ms = self._clock.now_ms()
        try:
            payload = self._receipts.payload(push_id)
        except ValueError as error:  # it must not stand in the way of those behind it
            log.error("what is kept of a push cannot be read", push_id=push_id, reason=str(error))
            payload = None
        if payload is None:
            self._pending.remove(batch, push_id)
            how = "removed"
        else:
            how = self._publish(batch, push_id, payload, now_ms)
        metrics.RECONCILED.labels(how).inc()
        log.info("reconciled", push_id=push_id, how=how)

    def _publish(self, batch: Batch, push_id: str, payload: Mapping[str, Any], now_ms: int) -> str:
        with self._outlet.open() as producer:
            try:
                push = Push.from_payload(payload)
            except ValueError as error:
                requeue.put_dead_letter(producer, payload, "malformed", str(error))
                self._pending.remove(batch, push_id)
                return "malformed"
            requeue.put_push(producer, payload, push)
        due_ms = max(push.accepted_ms, push.not_before_ms)
        self._pending.postpone(batch, push_id, now_ms + delay_ms(now_ms - due_ms))
        return "scheduled" if push.not_before_ms and now_ms - due_ms < _FIRST_DELAY_MS else "published"

    def _measure(self) -> None:
        count, first_ms = self._pending.waiting()
        metrics.PENDING.set(count)
        metrics.PENDING_LATE_SECONDS.set(max(0, self._clock.now_ms() - first_ms) / 1000 if count else 0)

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("the reconciler waits", reason=trouble)
        elif self._trouble and not trouble:
            log.info("the reconciler goes on")
        self._trouble = trouble


def delay_ms(age_ms: int) -> int:
    """Say after how long a push that is *age_ms* old is looked at again: as long as it has taken so far.  Pure.

    So delays double, without anybody counting them.
    """
    return min(max(age_ms, _FIRST_DELAY_MS), _LAST_DELAY_MS)
