"""What the job tier reads and writes of pushes on record: whose task goes, what is cancelled, how keys ended.

A push is *recorded* when it is durable, traced or scheduled; one with a ``claim`` may have several tasks, of which one
goes.  Any other push never comes here, and costs the store nothing.

:meth:`Record.begin`, before the keys are looked up:

1. take the claim: another task of the same request went before → this one ends;
2. a durable push without places (a scheduled one, or one that the reconciler found) is appended to the inboxes of those
   of its keys that are not cancelled, and that the receipt has no place of;
3. the receipt says dispatched, and the push is off Pending, in one step of the store.

:meth:`Record.settle`, after the nodes have answered: fates that end a key go into the receipt.  What a session got is
the nodes' to write.  Refuses to send, to retry and to talk to the broker.

Whoever dies, or loses the store, between two of these steps leaves the task with the broker; it comes again and does
all steps again, each of which then changes nothing:

- after 1: the same claim is taken again by the same task, and by no other.
- in or after 2: the append finds what it has appended.  Pending still holds the push: should the task be lost too, the
  reconciler brings another.
- after 3, before the push is sent: dispatched → dispatched.  The message is in the inbox if it is durable.
- in the middle of the settling: what is written is written, and a key that ended *offline* may be dispatched again.

The store loses its last writes (a crash, a failover) after the push was accepted: its receipt is gone, and its places
are not those of the inboxes any more.  The task still has the message, and appends it again, behind what came after it.

Somebody cancels the push meanwhile:

- before 2 looks at the receipt: those keys are not appended.
- between the look and the append: the canceller found nothing to remove from the inbox, but 3 is told of the
  cancelled keys, and removes them.  A session that reads the inbox just then has it: "the emit was under way".
- between 2 and 3: the canceller removes it from the inbox, 3 leaves the key out.
- after 3: too late, unless the nodes have not emitted it: then the receipt says so, and the nodes find the inbox empty.

The same task twice, at the same time: both claim (the same claim), append (once), mark and send; nodes drop what they
have had.  A late one, after everything ended: cancelled and expired keys are left out, the rest is sent, and dropped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import redis

from proto.message import Fate, Place, Push
from store.batch import Batch
from store.clock import StoreClock
from store.inbox import Inbox
from store.pending import Pending
from store.receipts import Owner, Receipts, State, Step
from store.requests import Requests
from tasks.suspicion import Suspicion

_KEYS_A_BATCH = 100
_KEPT_MS = 86_400_000  # a durable push that never expires, which nobody makes
_OVER = {State.CANCELLED: Fate.CANCELLED, State.EXPIRED: Fate.EXPIRED, State.FILTERED: Fate.FILTERED}
ENDS = {
    Fate.OFFLINE: State.OFFLINE,
    Fate.FILTERED: State.FILTERED,
    Fate.SLOW: State.FAILED,
    Fate.EXPIRED: State.EXPIRED,
    Fate.FAILED: State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Begun:
    """What may be sent now: *push* with the keys that are left, None where there is nothing; *ended* are the others."""

    push: Push | None
    ended: Mapping[str, Fate] = field(default_factory=dict)
    superseded: bool = False  # another task of this request went before


class Record:
    """One per worker process, shared by its threads.  Every method may raise StoreUnavailable."""

    def __init__(
        self,
        client: redis.Redis,
        receipts: Receipts,
        requests: Requests,
        pending: Pending,
        inbox: Inbox,
        clock: StoreClock,
        suspicion: Suspicion,
    ) -> None:
        self._client = client
        self._receipts = receipts
        self._requests = requests
        self._pending = pending
        self._inbox = inbox
        self._clock = clock
        self._ask = suspicion.ask

    def begin(self, push: Push) -> Begun:
        """Mark *push* dispatched and say what of it may be sent."""
        if push.claim and not self._ask(self._requests.take, push.request_id or "", push.claim):
            return Begun(None, superseded=True)
        if not push.recorded:
            return Begun(push)
        if push.durable and not push.places:
            return self._append_and_mark(push)
        return self._mark(push)

    def settle(self, push: Push, steps: Sequence[Step]) -> None:
        """Write how keys ended; a push that has ended without being dispatched pends no more either."""
        if not steps:
            return
        batch = Batch(self._client)
        self._receipts.advance(batch, push.push_id, Owner.JOB, steps)
        self._pending.remove(batch, push.push_id)
        self._ask(batch.run)

    def _mark(self, push: Push) -> Begun:
        told = self._ask(self._receipts.dispatch, push, self._clock.now_ms())
        ended = {key: _OVER[state] for key, state in told.ended.items() if state in _OVER}
        keys = [key for key in push.keys if key not in ended]
        if push.places and not told.known:
            push = self._append_what_was_lost(push)
        return Begun(push.only(keys) if keys else None, ended)

    def _append_what_was_lost(self, push: Push) -> Push:
        positions = self._ask(self._inbox.positions, push.keys)
        lost = [key for key in push.keys if not positions[key].knows(push.places[key])]
        return replace(push, places={**push.places, **self._append(push, lost)}) if lost else push

    def _append_and_mark(self, push: Push) -> Begun:
        receipt = self._ask(self._receipts.get, push.push_id)
        known = receipt.keys if receipt is not None else {}
        over = {key: _OVER[known[key].state] for key in push.keys if key in known and known[key].state in _OVER}
        keys = [key for key in push.keys if key not in over]
        places = {key: place for key in keys if key in known and (place := known[key].place) is not None}
        places |= self._append(push, [key for key in keys if key not in places])
        begun = self._mark(replace(push, places=places).only(keys) if keys else push)
        ended = {**over, **begun.ended}
        self._take_back(push, [key for key, fate in ended.items() if fate is Fate.CANCELLED])
        return replace(begun, ended=ended)

    def _append(self, push: Push, keys: Sequence[str]) -> dict[str, Place]:
        ttl_ms = max(1, push.expires_ms - self._clock.now_ms()) if push.expires_ms else _KEPT_MS
        places: dict[str, Place] = {}
        for some in _batches(keys):
            batch = Batch(self._client)
            for key in some:
                self._inbox.append(batch, key, push.push_id, push.message, ttl_ms, again=True)
            answers = map(self._inbox.appended, self._ask(batch.run))
            places |= {key: answer.place for key, answer in zip(some, answers, strict=True)}
        return places

    def _take_back(self, push: Push, keys: Sequence[str]) -> None:
        for some in _batches(keys):
            batch = Batch(self._client)
            for key in some:
                self._inbox.remove(batch, key, push.push_id)
            self._ask(batch.run)


def steps(push: Push, fates: Mapping[str, Fate], reasons: Mapping[str, str], now_ms: int) -> list[Step]:
    """Say what the receipt is to learn from *fates*.  Pure.

    Nothing of what sessions got, or will: the nodes write that.  Nothing of cancelled keys: whoever cancelled has.
    """
    return [
        Step(
            key=key,
            to=ENDS[fate],
            at_ms=now_ms,
            reason=reasons.get(key, ""),
            place=push.places.get(key),
        )
        for key, fate in fates.items()
        if fate in ENDS
    ]


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(keys)
    while some := list(islice(iterator, _KEYS_A_BATCH)):
        yield some
