"""Pending: accepted and scheduled pushes of which no worker has said yet that it has them.

A process may die between the promise and the task, and a broker may lose a task: whoever leads publishes again what is
still here when it is due.  Guarantees: what is here stays until it is removed; what is due is told by Redis' own clock;
postponing never brings back what was removed; at most one owner leads at a time, by that clock.

``{pending}:due`` is a sorted set (score = due time in Unix ms), ``{pending}:lead`` the lease; one hash slot.
"""

import redis

from store.batch import Batch, Script
from store.connection import answering
from store.settings import StoreSettings

# KEYS: due.  ARGV: limit.  Answers the push ids that are due, longest due first.
_DUE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
""")

# KEYS: lead.  ARGV: owner, ttl in ms.  Answers 1 to whoever leads.
_LEAD = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
""")


class Pending:
    """Keeps what is to be published again.  Thread-safe.  Every method that sends may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, settings: StoreSettings) -> None:
        self._client = client
        self._due = f"{settings.store_namespace}:{{pending}}:due"
        self._lead = f"{settings.store_namespace}:{{pending}}:lead"

    def add(self, batch: Batch, push_id: str, due_ms: int) -> int:
        """Add to *batch* that *push_id* is due at *due_ms*; answers 1, or 0 if it was there (now it has this time)."""
        return batch.command("ZADD", self._due, due_ms, push_id)

    def remove(self, batch: Batch, *push_ids: str) -> int:
        """Add to *batch* that these need nobody any more; answers how many were there."""
        return batch.command("ZREM", self._due, *(push_ids or ("",)))

    def due(self, limit: int) -> list[str]:
        """List up to *limit* push ids that are due, longest due first."""
        batch = Batch(self._client)
        batch.script(_DUE, [self._due], (limit,))
        answer: list[str] = batch.run()[0]
        return answer

    def postpone(self, batch: Batch, push_id: str, due_ms: int) -> int:
        """Add to *batch* another due time for a push that is still here; answers 1 if that changed something."""
        return batch.command("ZADD", self._due, "XX", "CH", due_ms, push_id)

    def waiting(self) -> tuple[int, int]:
        """Tell how many are here, due or not, and when the first of them is due, in Unix ms; 0 when there is none."""
        with answering():
            pipe = self._client.pipeline(transaction=False)
            pipe.zcard(self._due)
            pipe.zrange(self._due, 0, 0, withscores=True)
            count, first = pipe.execute()
        return count, int(first[0][1]) if first else 0

    def lead(self, owner: str, ttl_s: float) -> bool:
        """Take or extend the lease for *ttl_s*; False while another owner's runs."""
        batch = Batch(self._client)
        batch.script(_LEAD, [self._lead], (owner, int(ttl_s * 1000)))
        return bool(batch.run()[0])
