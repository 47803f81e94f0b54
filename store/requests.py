"""Requests: a caller's ``request_id`` stands for one push, for 24 hours, however often and from wherever it is sent.

A *claim* is the right to carry a request out.  Guarantees:

- of calls that claim at once one gets it; the others learn that it is under way, or done, and with which push_id;
- a claim whose holder died or gave it back goes to the next call, with the *same* push_id: what the holder had done
  under that (a receipt, messages in inboxes, even a task) is found there and not done a second time;
- a holder that was only slow may so have published a second task: each carries its claim, and :meth:`take` lets
  through the claim that arrives first, however often it does, and no other;
- a request that is done, or whose task has arrived, stays done.

``request:{id}`` is a hash; times are Redis' own.  A Redis that loses its last writes forgets claims of that time.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import redis

from store.batch import Batch, Script
from store.inbox import slot
from store.settings import StoreSettings

_KEPT_MS = 24 * 3_600_000
_TAKEOVER_S = 3.0

# KEYS: request.  ARGV: digest, push_id, claim's end, takeover in ms, kept in ms.
# Answers {kind, push_id, claim, 1 if it goes on with what another began, when another may take over}.
_CLAIM = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is = redis.call('HMGET', KEYS[1], 'push', 'digest', 'since', 'done', 'taken')
if not is[1] then
  local claim = ARGV[2] .. '.' .. ARGV[3]
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'push', ARGV[2], 'digest', ARGV[1], 'claim', claim, 'since', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {'mine', ARGV[2], claim, 0, now + ARGV[4]}
end
if is[2] ~= ARGV[1] then return {'conflict', is[1], '', 0, 0} end
if is[4] or is[5] then return {'done', is[1], '', 0, 0} end
local age = now - tonumber(is[3])
if age >= 0 and age < tonumber(ARGV[4]) then return {'busy', is[1], '', 0, 0} end
local claim = is[1] .. '.' .. ARGV[3]
redis.call('HSET', KEYS[1], 'claim', claim, 'since', now)
return {'mine', is[1], claim, 1, now + ARGV[4]}
""")

# Whether a claim was made for the push that the request stands for now.
_ITS_OWN = """
local push = redis.call('HGET', KEYS[1], 'push')
local its_own = push and string.sub(ARGV[1], 1, #push + 1) == push .. '.'
"""

# KEYS: request.  ARGV: claim.  Answers 1, or 0 if it is none of this request's.
_DONE = Script(
    _ITS_OWN
    + """
if not its_own then return 0 end
redis.call('HSET', KEYS[1], 'done', 1)
return 1
"""
)

# KEYS: request.  ARGV: claim.  Answers 1, or 0 if somebody else has it.
_RELEASE = Script("""
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'since', 0)
return 1
""")

# KEYS: request.  ARGV: claim, kept in ms.  Answers 1 if its task may be dispatched.
_TAKE = Script(
    _ITS_OWN
    + """
if push and not its_own then return 1 end
if redis.call('HSETNX', KEYS[1], 'taken', ARGV[1]) == 1 then
  if not push then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return 1
end
return redis.call('HGET', KEYS[1], 'taken') == ARGV[1] and 1 or 0
"""
)


class ClaimKind(StrEnum):
    """What a call learns about its request."""

    MINE = "mine"  # carry it out
    DONE = "done"  # it has been carried out
    BUSY = "busy"  # somebody is at it
    CONFLICT = "conflict"  # the id stands for another body


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.  *push_id* is the request's; *claim* is "" unless it is MINE.

    *again*: somebody died or failed between its steps; go on with this push_id, and expect to find what it did.
    *alone_until_ms*: by Redis' time, when another may take over, and what was not done before may be done by now.
    """

    kind: ClaimKind
    push_id: str
    claim: str = ""
    again: bool = False
    alone_until_ms: int = 0


class Requests:
    """Claims requests.  Thread-safe.  Every method that sends may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, settings: StoreSettings, takeover_s: float = _TAKEOVER_S) -> None:
        self._client = client
        self._namespace = settings.store_namespace
        self._takeover_ms = int(takeover_s * 1000)

    def claim(self, request_id: str, digest: str, push_id: str) -> Claim:
        """Claim *request_id*, whose body has this *digest*, for *push_id* if it stands for none yet."""
        return self.claims([(request_id, digest, push_id)])[0]

    def claims(self, asked: Sequence[tuple[str, str, str]]) -> list[Claim]:
        """Claim several, in this order, in one round trip; each as :meth:`claim`."""
        batch = Batch(self._client)
        for request_id, digest, push_id in asked:
            arguments = (digest, push_id, os.urandom(4).hex(), self._takeover_ms, _KEPT_MS)
            batch.script(_CLAIM, [self._name(request_id)], arguments)
        return [
            Claim(ClaimKind(kind), push_id, claim, bool(again), alone_until_ms)
            for kind, push_id, claim, again, alone_until_ms in batch.run()
        ]

    def done(self, batch: Batch, request_id: str, claim: str) -> int:
        """Add to *batch* that the request has been carried out, under this or a later claim; answers 1 or 0."""
        return batch.script(_DONE, [self._name(request_id)], (claim,))

    def release(self, batch: Batch, request_id: str, claim: str) -> int:
        """Add to *batch* that the next call may go on at once; answers 1, or 0 if another has the claim already."""
        return batch.script(_RELEASE, [self._name(request_id)], (claim,))

    def take(self, request_id: str, claim: str) -> bool:
        """Tell whether a task with this *claim* may be dispatched: only those of the claim that arrived first."""
        batch = Batch(self._client)
        self.ask_take(batch, request_id, claim)
        return bool(batch.run()[0])

    def ask_take(self, batch: Batch, request_id: str, claim: str) -> int:
        """Add :meth:`take` to *batch*; answers 1 or 0."""
        return batch.script(_TAKE, [self._name(request_id)], (claim, _KEPT_MS))

    def _name(self, request_id: str) -> str:
        return f"{self._namespace}:request:{{{slot(request_id)}}}"
