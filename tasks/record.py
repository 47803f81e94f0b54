"""What the job tier reads and writes of pushes on record: whose task goes, what is cancelled, how keys ended.

A push is *recorded* when it is durable, traced or scheduled; one with a ``claim`` may have several tasks, of which one
goes.  Any other push costs the store nothing here.  The pushes of a task take each step together, in shared round trips
of bounded size; what is said below of one holds for each.

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
from typing import TypeVar

import redis

from proto.message import Fate, Place, Push
from store.batch import Batch
from store.clock import StoreClock
from store.inbox import Inbox
from store.pending import Pending
from store.receipts import Dispatched, Owner, Receipts, State, Step
from store.requests import Requests
from tasks.suspicion import Suspicion

T = TypeVar("T")

_A_BATCH = 100  # calls in one round trip
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

    def begin(self, pushes: Sequence[Push]) -> list[Begun]:
        """Mark *pushes* dispatched and say what of each may be sent; those that are neither recorded nor claimed pass.

        They share round trips, so where one raises StoreUnavailable nothing is known of any: all are to be begun again.
        """
        superseded = self._superseded(pushes)
        begun = [Begun(None, superseded=True) if at in superseded else Begun(push) for at, push in enumerate(pushes)]
        recorded = [at for at, push in enumerate(pushes) if push.recorded and at not in superseded]
        without = [at for at in recorded if pushes[at].durable and not pushes[at].places]
        prepared = {at: _Prepared(pushes[at], pushes[at]) for at in recorded}
        if without:
            prepared |= zip(without, self._place([pushes[at] for at in without]), strict=True)
        for at, one in zip(prepared, self._mark(list(prepared.values())), strict=True):
            begun[at] = one
        self._take_back([(pushes[at], begun[at]) for at in without])
        return begun

    def settle(self, ends: Sequence[tuple[Push, Sequence[Step]]]) -> None:
        """Write how keys ended; a push that has ended without being dispatched pends no more either."""
        batch = Batch(self._client)
        for push, steps in ends:
            if steps:
                self._receipts.advance(batch, push.push_id, Owner.JOB, steps)
                self._pending.remove(batch, push.push_id)
        self._ask(batch.run)

    def _superseded(self, pushes: Sequence[Push]) -> set[int]:
        """Take the claims; gives the places of those that another task has taken."""
        batch = Batch(self._client)
        claimed = [at for at, push in enumerate(pushes) if push.claim]
        for at in claimed:
            self._requests.ask_take(batch, pushes[at].request_id or "", pushes[at].claim)
        answers = self._ask(batch.run) if claimed else []
        return {at for at, taken in zip(claimed, answers, strict=True) if not taken}

    def _place(self, pushes: Sequence[Push]) -> list["_Prepared"]:
        """Append what has no places yet, for the keys that are not over."""
        prepared: list[_Prepared] = []
        missing: list[tuple[Push, str]] = []
        receipts = self._ask(self._receipts.get_all, [push.push_id for push in pushes])
        for push, receipt in zip(pushes, receipts, strict=True):
            known = receipt.keys if receipt is not None else {}
            over = {key: _OVER[known[key].state] for key in push.keys if key in known and known[key].state in _OVER}
            keys = [key for key in push.keys if key not in over]
            places = {key: place for key in keys if key in known and (place := known[key].place) is not None}
            missing += [(push, key) for key in keys if key not in places]
            prepared.append(_Prepared(replace(push, places=places), push, keys, over))
        appended = self._append(missing)
        return [one.placed(appended.get(one.whole.push_id, {})) for one in prepared]

    def _mark(self, prepared: Sequence["_Prepared"]) -> list[Begun]:
        told: list[Dispatched] = []
        for some in _batches(prepared):
            batch = Batch(self._client)
            asked = [(one.push, self._receipts.mark(batch, one.push, self._clock.now_ms())) for one in some]
            answers = self._ask(batch.run)
            told += [self._receipts.marked(push, answers[place]) for push, place in asked]
        pushes = [one.push for one in prepared]
        strangers = [at for at, push in enumerate(pushes) if push.places and not told[at].known]
        for at, push in zip(strangers, self._append_what_was_lost([pushes[at] for at in strangers]), strict=True):
            pushes[at] = push
        return [_begun(one, push, answer) for one, push, answer in zip(prepared, pushes, told, strict=True)]

    def _append_what_was_lost(self, pushes: Sequence[Push]) -> list[Push]:
        if not pushes:
            return []
        positions = self._ask(self._inbox.positions, list(dict.fromkeys(key for push in pushes for key in push.keys)))
        lost = [(push, key) for push in pushes for key in push.keys if not positions[key].knows(push.places[key])]
        appended = self._append(lost)
        return [replace(push, places={**push.places, **appended.get(push.push_id, {})}) for push in pushes]

    def _append(self, missing: Sequence[tuple[Push, str]]) -> dict[str, dict[str, Place]]:
        """Append pushes to inboxes of their keys; gives the places by push and key."""
        now_ms, places = self._clock.now_ms(), dict[str, dict[str, Place]]()
        for some in _batches(missing):
            batch = Batch(self._client)
            for push, key in some:
                ttl_ms = max(1, push.expires_ms - now_ms) if push.expires_ms else _KEPT_MS
                self._inbox.append(batch, key, push.push_id, push.message, ttl_ms, again=True)
            for (push, key), answer in zip(some, self._ask(batch.run), strict=True):
                places.setdefault(push.push_id, {})[key] = self._inbox.appended(answer).place
        return places

    def _take_back(self, begun: Sequence[tuple[Push, Begun]]) -> None:
        gone = [(push, key) for push, one in begun for key, fate in one.ended.items() if fate is Fate.CANCELLED]
        for some in _batches(gone):
            batch = Batch(self._client)
            for push, key in some:
                self._inbox.remove(batch, key, push.push_id)
            self._ask(batch.run)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A recorded push that can be marked: *push*, of *whole*, with the keys that are not *over* and their places."""

    push: Push
    whole: Push
    keys: Sequence[str] | None = None  # None: all of them
    over: Mapping[str, Fate] = field(default_factory=dict)

    def placed(self, appended: Mapping[str, Place]) -> "_Prepared":
        """Add the places that were missing.  With no key left the whole push is marked, and says so of each key."""
        if not self.keys:
            return replace(self, push=self.whole)
        places = {**self.push.places, **appended}
        return replace(self, push=replace(self.push, places=places).only(self.keys))


def _begun(prepared: _Prepared, push: Push, told: Dispatched) -> Begun:
    ended = {**prepared.over, **{key: _OVER[state] for key, state in told.ended.items() if state in _OVER}}
    keys = [key for key in push.keys if key not in ended]
    return Begun(push.only(keys) if keys else None, ended)


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


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, _A_BATCH)):
        yield some
