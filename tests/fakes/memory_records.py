"""What the store keeps about pushes, in dicts: for tests of who writes what when, not of how Redis does it.

A test may have the store fail at its next round trips, or after a few calls of one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from app.records import Records
from proto.errors import StoreUnavailable
from proto.message import Message, Place, Push
from store.inbox import Appended, Kept, Page, Position
from store.receipts import Cancelled, KeyReceipt, Receipt, State
from store.requests import Claim, ClaimKind

EPOCH = "e1"
_CANCELLABLE = {State.SCHEDULED, State.ACCEPTED, State.DISPATCHED, State.OFFLINE, State.CANCELLED}


@dataclass
class MemoryStore:
    """All that is kept; *log* names each call in the order in which it was made."""

    now_ms: int = 1_700_000_000_000
    inboxes: dict[str, list[Kept]] = field(default_factory=dict)
    lasts: dict[str, int] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: dict[str, float] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    round_trips: int = 0
    fail: Callable[[int], int | None] = lambda _trip: None  # how many calls of a round trip are done; None: all
    refuse: str = ""  # the calls of this name fail, and no others

    def trip(self, calls: list[Callable[[], Any]]) -> list[Any]:
        """Do the calls of one round trip."""
        self.round_trips += 1
        done = self.fail(self.round_trips)
        answers = [call() for call in calls[:done]]
        if done is not None:
            raise StoreUnavailable("the store cannot serve this now: gone")
        return answers

    def lose(self, *trips: int, done: int = 0) -> None:
        """Have these round trips, counted from now, fail once *done* of their calls are done."""
        failing = {self.round_trips + trip for trip in trips}
        self.fail = lambda trip: done if trip in failing else None

    @property
    def empty(self) -> bool:
        """Whether nothing is left of any push."""
        return not (any(self.inboxes.values()) or self.receipts or self.pending)

    def records(self) -> Records:
        """Give it as the app takes it."""
        parts = (MemoryInbox(self), MemoryReceipts(self), MemoryRequests(self), MemoryPending(self))
        inbox, receipts, requests, pending = (cast(Any, part) for part in parts)
        return Records(lambda: cast(Any, MemoryBatch(self)), inbox, receipts, requests, pending)


class MemoryBatch:
    """Collects calls."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._calls: list[Callable[[], Any]] = []

    def add(self, name: str, call: Callable[[], Any]) -> int:
        def noted() -> Any:
            self._store.log.append(name)
            if name == self._store.refuse:
                return StoreUnavailable("the store cannot serve this now: OOM")
            return call()

        self._calls.append(noted)
        return len(self._calls) - 1

    def __len__(self) -> int:
        return len(self._calls)

    def run(self) -> list[Any]:
        return self._store.trip(self._calls)

    outcomes = run


@dataclass
class MemoryInbox:
    store: MemoryStore

    def append(
        self,
        batch: MemoryBatch,
        key: str,
        push_id: str,
        message: Message,
        ttl_ms: int,
        *,
        again: bool = False,
        alone_until_ms: int | None = None,
    ) -> int:
        def append() -> Appended:
            kept = self.store.inboxes.setdefault(key, [])
            for one in kept if again or self.store.now_ms >= (alone_until_ms or float("inf")) else ():
                if one.push_id == push_id:
                    return Appended(Place(EPOCH, one.offset), self.store.now_ms, one.expires_ms)
            offset = self.store.lasts[key] = self.store.lasts.get(key, 0) + 1
            one = Kept(offset, push_id, message, self.store.now_ms + ttl_ms, self.store.now_ms)
            kept.append(one)
            return Appended(Place(EPOCH, offset), self.store.now_ms, one.expires_ms)

        return batch.add(f"append {key}", append)

    @staticmethod
    def appended(answer: Appended) -> Appended:
        return answer

    def remove(self, batch: MemoryBatch, key: str, push_id: str) -> int:
        def remove() -> None:
            self.store.inboxes[key] = [one for one in self.store.inboxes.get(key, []) if one.push_id != push_id]

        return batch.add(f"remove {key}", remove)

    def read(self, after: Mapping[str, int], limit: int) -> dict[str, Page]:
        self.store.trip([])
        pages = {}
        for key, offset in after.items():
            kept = [one for one in self.store.inboxes.get(key, []) if one.offset > offset]
            last = self.store.lasts.get(key, 0)
            position = Position((Place(EPOCH, 1),) if last else (), last)
            pages[key] = Page(key, position, offset, tuple(kept[:limit]), last, len(kept) >= limit)
        return pages


@dataclass
class MemoryReceipts:
    store: MemoryStore

    def create(self, batch: MemoryBatch, push: Push, state: State, *, traced: bool = False) -> int:
        made = Receipt(
            push.push_id,
            push.message.op,
            push.priority,
            push.durable,
            traced,
            push.accepted_ms,
            push.not_before_ms,
            push.expires_ms,
            {key: KeyReceipt(state) for key in push.keys},
        )
        return batch.add("create", lambda: self.store.receipts.setdefault(push.push_id, made))

    def forget(self, batch: MemoryBatch, push_id: str) -> int:
        return batch.add("forget", lambda: self.store.receipts.pop(push_id, None))

    def get(self, push_id: str) -> Receipt | None:
        self.store.trip([])
        return self.store.receipts.get(push_id)

    def cancel(self, push_id: str, at_ms: int) -> Cancelled | None:
        self.store.trip([])
        if (found := self.store.receipts.get(push_id)) is None:
            return None
        self.store.pending.pop(push_id, None)
        cancelled = tuple(key for key, kept in found.keys.items() if kept.state in _CANCELLABLE)
        late = {key: kept.state for key, kept in found.keys.items() if key not in cancelled}
        self.advance(push_id, State.CANCELLED, *cancelled, ended_ms=at_ms)
        return Cancelled(cancelled, late, found.durable)

    def advance(self, push_id: str, state: State, *keys: str, **times: int) -> None:
        """What workers and nodes would do."""
        found = self.store.receipts[push_id]
        changed = {key: replace(found.keys[key], state=state, **cast(Any, times)) for key in keys or found.keys}
        self.store.receipts[push_id] = replace(found, keys={**found.keys, **changed})


@dataclass
class MemoryRequests:
    store: MemoryStore

    def claim(self, request_id: str, digest: str, push_id: str) -> Claim:
        return self.claims([(request_id, digest, push_id)])[0]

    def claims(self, asked: Sequence[tuple[str, str, str]]) -> list[Claim]:
        self.store.trip([])
        return [self._claim(*one) for one in asked]

    def _claim(self, request_id: str, digest: str, push_id: str) -> Claim:
        kept = self.store.requests.setdefault(request_id, {"push": push_id, "digest": digest, "claims": 0})
        if kept["digest"] != digest:
            return Claim(ClaimKind.CONFLICT, kept["push"])
        if kept.get("done") or kept.get("open"):
            return Claim(ClaimKind.DONE if kept.get("done") else ClaimKind.BUSY, kept["push"])
        kept["claims"] += 1
        kept["open"] = claim = f"{kept['push']}.{kept['claims']}"
        return Claim(ClaimKind.MINE, kept["push"], claim, kept["claims"] > 1)

    def done(self, batch: MemoryBatch, request_id: str, claim: str) -> int:
        return batch.add("done", lambda: self.store.requests[request_id].update(done=claim))

    def release(self, batch: MemoryBatch, request_id: str, claim: str) -> int:
        def release() -> None:
            if self.store.requests[request_id].get("open") == claim:
                self.store.requests[request_id].pop("open")

        return batch.add("release", release)


@dataclass
class MemoryPending:
    store: MemoryStore

    def add(self, batch: MemoryBatch, push_id: str, due_ms: int) -> int:
        return batch.add("pending", lambda: self.store.pending.update({push_id: due_ms}))

    def remove(self, batch: MemoryBatch, *push_ids: str) -> int:
        return batch.add("unpending", lambda: [self.store.pending.pop(push_id, None) for push_id in push_ids])
