"""Writes behind what the hub notes of durable and recorded pushes: handed over, acked, cursors.

The hub's thread notes and never waits; one native thread writes, in batches: what is noted while a batch is under way
goes with the next.  Notes of the same push and key are one; cursors are state, so the newest takes the place of older
ones.  Bounded: past ``_MOST`` notes, while the store is away, the oldest are given up and counted.  What is lost so, or
with this process, costs an answer in a receipt and a message that a client without cursors gets again; never a message.

Interleavings:

1. *A note comes while a batch is written.*  The batch was taken out under the lock; the note opens the next one.
2. *The store does not answer.*  The same batch is sent again, under the same number, until it is done; what is noted
   meanwhile waits for the next.  A batch that had been done, and whose answer was lost, is so counted once.
3. *The node stops.*  :meth:`stop` writes what is left, once, and waits for a bounded time.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
import structlog

from cloud_node import metrics
from proto.errors import StoreUnavailable
from proto.message import Place
from store.batch import Batch
from store.cursors import Cursors
from store.inbox import Inbox
from store.receipts import Mark, Owner, Receipts, State, Step

_MOST = 100_000
_AT_ONCE = 500  # pushes in one round trip
_RETRY_S = 0.25
_STOP_S = 3.0
_PAGE = 64

log = structlog.get_logger()


@dataclass(slots=True)
class _Note:
    """What became of one push for one key since it was last written."""

    handed_ms: int = 0
    sessions: int = 0
    acked_ms: int = 0
    acks: int = 0
    place: Place | None = None

    def steps(self, key: str) -> list[Step]:
        steps = []
        if self.handed_ms:
            steps.append(Step(key, State.EMITTED, self.handed_ms, sessions=self.sessions, place=self.place))
        if self.acked_ms:
            steps.append(Step(key, State.ACKED, self.acked_ms, sessions=self.acks))
        return steps


@dataclass(slots=True)
class _Notes:
    pushes: dict[str, dict[str, _Note]] = field(default_factory=dict)  # by push and key
    cursors: dict[str, dict[str, Place]] = field(default_factory=dict)  # by session key and key
    ranges: dict[tuple[str, int, int], int] = field(default_factory=dict)  # key, after, through: when

    def __bool__(self) -> bool:
        return bool(self.pushes or self.cursors or self.ranges)

    def __len__(self) -> int:
        return sum(map(len, self.pushes.values())) + sum(map(len, self.cursors.values())) + len(self.ranges)

    def drop_oldest(self) -> int:
        """Give up what can best be done without; gives how many notes that were."""
        if self.ranges:
            del self.ranges[next(iter(self.ranges))]
            return 1
        notes: dict[str, Any] = self.pushes or self.cursors
        return len(notes.pop(next(iter(notes))))


class Ledger:
    """See the module.  *writer* names this run of the node."""

    def __init__(
        self,
        client: redis.Redis,
        receipts: Receipts,
        cursors: Cursors,
        inbox: Inbox,
        now_ms: Callable[[], int],
        *,
        writer: str,
    ) -> None:
        self._writer = writer
        self._batch = 0
        self._client = client
        self._receipts = receipts
        self._cursors = cursors
        self._inbox = inbox
        self._now_ms = now_ms
        self._noted = threading.Condition()
        self._notes = _Notes()
        self._count = 0  # of them
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # From the hub's thread.

    def handed(self, push_id: str, key: str, place: Place | None, sessions: int) -> None:
        """Note that a push was handed to so many sessions of *key*."""
        with self._noted:
            note = self._note(push_id, key)
            note.handed_ms = note.handed_ms or self._now_ms()
            note.sessions += sessions
            note.place = note.place or place
            self._noted.notify()

    def acked(self, push_id: str, key: str) -> None:
        """Note that one session of *key* has acked a push."""
        with self._noted:
            note = self._note(push_id, key)
            note.acked_ms = note.acked_ms or self._now_ms()
            note.acks += 1
            self._noted.notify()

    def acked_before(self, key: str, after: int, through: int) -> None:
        """Note that somebody has all of *key* from behind *after* up to *through*; nobody here knows which pushes."""
        with self._noted:
            if (key, after, through) not in self._notes.ranges:
                self._room_for_one()
                self._notes.ranges[key, after, through] = self._now_ms()
            self._noted.notify()

    def cursor(self, session_key: str, key: str, place: Place) -> None:
        """Note how far *session_key* has acked *key*."""
        with self._noted:
            if key not in self._notes.cursors.get(session_key, {}):
                self._room_for_one()
            self._notes.cursors.setdefault(session_key, {})[key] = place
            self._noted.notify()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and return; within a bound."""
        with self._noted:
            self._stopped = True
            self._noted.notify()
        self._thread.join(_STOP_S)

    # Inside.

    def _note(self, push_id: str, key: str) -> _Note:
        note = self._notes.pushes.get(push_id, {}).get(key)
        if note is None:
            self._room_for_one()
            note = self._notes.pushes.setdefault(push_id, {})[key] = _Note()
        return note

    def _room_for_one(self) -> None:
        self._count += 1
        while self._count > _MOST:
            gone = self._notes.drop_oldest()
            self._count -= gone
            metrics.LEDGER_LOST.inc(gone)

    def _run(self) -> None:
        while True:
            with self._noted:
                self._noted.wait_for(lambda: self._stopped or bool(self._notes))
                notes, self._notes, self._count = self._notes, _Notes(), 0
                if self._stopped and not notes:
                    return
            metrics.LEDGER_WAITING.set(len(notes))
            self._batch += 1
            try:
                while not self._written(notes):
                    with self._noted:
                        self._noted.wait_for(lambda: self._stopped, _RETRY_S)
                        if self._stopped:
                            log.warning(
                                "stopped without the store: what sessions have is not written", notes=len(notes)
                            )
                            metrics.LEDGER_LOST.inc(len(notes))
                            return
            except Exception as error:
                # Once more would fail once more; what can be lost here is no message.
                log.exception("notes for receipts and cursors were given up", reason=repr(error), notes=len(notes))
                metrics.LEDGER_LOST.inc(len(notes))

    def _written(self, notes: _Notes) -> bool:
        try:
            self._write(notes)
        except StoreUnavailable as error:
            log.warning("the store is away; what sessions have is written later", reason=str(error))
            return False
        return True

    def _write(self, notes: _Notes) -> None:
        """Write and take out what is written; raises StoreUnavailable."""
        self._resolve(notes)
        mark = Mark(self._writer, self._batch)
        while notes.pushes or notes.cursors:
            batch = Batch(self._client)
            pushes, cursors = list(notes.pushes)[:_AT_ONCE], list(notes.cursors)[:_AT_ONCE]
            for push_id in pushes:
                steps = [step for key, note in notes.pushes[push_id].items() for step in note.steps(key)]
                self._receipts.advance(batch, push_id, Owner.CLOUD, steps, mark)
            for session_key in cursors:
                self._cursors.put(batch, session_key, notes.cursors[session_key])
            try:
                batch.run()
            except redis.RedisError as error:
                # Once more would fail once more; what can be lost here is no message.
                log.exception("notes for receipts and cursors were refused", reason=repr(error), pushes=len(pushes))
                metrics.LEDGER_LOST.inc(len(pushes) + len(cursors))
            for push_id in pushes:
                del notes.pushes[push_id]
            for session_key in cursors:
                del notes.cursors[session_key]

    def _resolve(self, notes: _Notes) -> None:
        """Find the pushes of ranges: they were handed over and acked, elsewhere and before."""
        while notes.ranges:
            (key, after, through), at_ms = next(iter(notes.ranges.items()))
            page = self._inbox.read({key: after}, _PAGE)[key]
            for kept in page.messages:
                if kept.offset <= through:
                    note = notes.pushes.setdefault(kept.push_id, {}).setdefault(key, _Note())
                    note.handed_ms, note.acked_ms = note.handed_ms or at_ms, note.acked_ms or at_ms
                    note.place = note.place or Place(page.position.epoch_of(kept.offset), kept.offset)
            del notes.ranges[(key, after, through)]
            if page.more and page.through < through:
                notes.ranges[(key, page.through, through)] = at_ms
