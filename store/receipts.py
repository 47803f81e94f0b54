"""Receipts: what became of each durable, traced or scheduled push, and when, for each of its keys.

Guarantees:

- a transition happens only where :data:`TRANSITIONS` has it, and only by its owner: each script holds the table;
- a step that is repeated does no harm; counts are exact where the writer numbers its batches (:class:`Mark`);
- a receipt that is not there (expired, withdrawn, lost) is not made by a step;
- it is kept until ``receipt_ttl_s`` after its push has expired.

Refuses to decide what happens to a push, except that what is cancelled or over is not dispatched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import orjson
import redis

from proto.message import Place, Push
from proto.queues import Priority
from store.batch import Argument, Batch
from store.clock import StoreClock
from store.connection import answering
from store.inbox import slot
from store.pending import Pending
from store.receipt_scripts import (
    ADVANCE,
    CANCEL,
    CREATE,
    DISPATCH,
    KEY,
    LETTERS,
    META,
    PAYLOAD,
    STATES,
    read_key,
)
from store.settings import StoreSettings
from store.states import BEGINNINGS, ENDED_FOR_DISPATCH, TRANSITIONS, KeyReceipt, Owner, Receipt, State

__all__ = [
    "TRANSITIONS",
    "Cancelled",
    "Dispatched",
    "KeyReceipt",
    "Mark",
    "Owner",
    "Receipt",
    "Receipts",
    "State",
    "Step",
]

_REASON_KEPT = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One transition of one key at *at_ms*.

    *sessions* counts to how many it was handed (a step to emitted) or how many acked (to acked).  *place* is noted
    when it is given.
    """

    key: str
    to: State
    at_ms: int
    sessions: int = 0
    reason: str = ""
    place: Place | None = None


class Mark(NamedTuple):
    """The *number*-th batch that *writer* sends; a batch that is sent again has the same number and the same steps.

    Numbers of a writer grow; a writer that is started anew takes another name.
    """

    writer: str
    number: int


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The keys that a task is to go to, and those that it must leave alone; not *known*: there is no receipt."""

    go: tuple[str, ...]
    ended: Mapping[str, State]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel came to: the keys that are cancelled (now or since before), and the state of the others."""

    cancelled: tuple[str, ...]
    too_late: Mapping[str, State]
    durable: bool


class Receipts:
    """Writes and reads receipts.  Thread-safe.  Every method that sends may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, settings: StoreSettings, clock: StoreClock) -> None:
        self._client = client
        self._clock = clock
        self._namespace = settings.store_namespace
        self._kept_ms = settings.receipt_ttl_s * 1000
        self._pending = Pending(client, settings)

    def create(self, batch: Batch, push: Push, state: State, *, traced: bool = False) -> int:
        """Add to *batch* that *push* is *state* (scheduled or accepted) for each key; answers 0 if it was there.

        The push itself is kept until a worker has it.  *traced* tells that the caller asked for a receipt; a push that
        is neither durable nor scheduled has one for no other reason.
        """
        if state not in BEGINNINGS:
            raise ValueError(f"no receipt begins as {state}")
        traced = traced or (push.recorded and not push.durable and not push.not_before_ms)
        meta = (push.message.op, push.priority.value, int(push.durable), int(traced))
        times = (push.accepted_ms, push.not_before_ms, push.expires_ms)
        ends: tuple[Argument, ...] = ("in", self._kept_ms + max(0, push.not_before_ms - push.accepted_ms))
        if push.expires_ms:
            ends = ("at", push.expires_ms + self._kept_ms)
        text = " ".join(str(word) for word in meta + times)
        payload = orjson.dumps(push.to_payload())
        return batch.script(CREATE, [self._name(push.push_id)], (text, payload, *ends, LETTERS[state], *push.keys))

    def forget(self, batch: Batch, push_id: str) -> int:
        """Add to *batch* the removal of a receipt; answers 1, or 0 if there is none."""
        return batch.command("DEL", self._name(push_id))

    def dispatch(self, push: Push, at_ms: int) -> Dispatched:
        """Do :meth:`mark` alone, in one round trip."""
        batch = Batch(self._client)
        batch.command("TIME")
        self.mark(batch, push, at_ms)
        time, letters, _ = batch.run()
        self._clock.learn(*map(int, time))
        return self.marked(push, letters)

    def mark(self, batch: Batch, push: Push, at_ms: int) -> int:
        """Add to *batch* that a worker has *push* (for its keys, with their places); the answer is for :meth:`marked`.

        Takes it off the pending ones and drops the kept payload.
        """
        arguments: list[Argument] = [at_ms]
        for key in push.keys:
            place = push.places.get(key)
            arguments += (key, place.epoch, place.offset) if place else (key, "", "")
        place_of_answer = batch.script(DISPATCH, [self._name(push.push_id)], arguments)
        self._pending.remove(batch, push.push_id)
        return place_of_answer

    @staticmethod
    def marked(push: Push, letters: Sequence[str]) -> Dispatched:
        """Say for which keys the mark holds; without a receipt it holds for all."""
        states = {key: STATES[letter] for key, letter in zip(push.keys, letters, strict=True) if letter}
        ended = {key: state for key, state in states.items() if state in ENDED_FOR_DISPATCH}
        return Dispatched(tuple(key for key in push.keys if key not in ended), ended, known=bool(states))

    def advance(self, batch: Batch, push_id: str, owner: Owner, steps: Sequence[Step], mark: Mark | None = None) -> int:
        """Add to *batch* the *steps* that *owner* makes with a push; answers a list of 1 or 0 for each step.

        0: the table does not let it, or there is no such receipt; then nothing changed.  With a *mark*, a batch that
        was counted already counts no sessions or acks again.
        """
        arguments: list[Argument] = [owner.value, *(mark or ("", 0))]
        for step in steps:
            place: tuple[Argument, Argument] = (step.place.epoch, step.place.offset) if step.place else ("", "")
            reason = step.reason[:_REASON_KEPT]
            arguments += (step.key, LETTERS[step.to], step.at_ms, step.sessions, reason, *place)
        return batch.script(ADVANCE, [self._name(push_id)], arguments)

    def cancel(self, push_id: str, at_ms: int) -> Cancelled | None:
        """Cancel the push for each key that has neither been emitted nor ended for good; None without a receipt.

        Nobody publishes it from the pending ones after this; a task that arrives is told by :meth:`dispatch`.  A
        durable push's messages are for the caller to remove.  One round trip.
        """
        batch = Batch(self._client)
        batch.script(CANCEL, [self._name(push_id)], (at_ms,))
        self._pending.remove(batch, push_id)
        answer, _ = batch.run()
        if not answer:
            return None
        durable, _, expires_ms = _read_meta(answer[0])
        cancelled: list[str] = []
        too_late: dict[str, State] = {}
        for key, letter, done in zip(answer[1::3], answer[2::3], answer[3::3], strict=True):
            if done or STATES[letter] is State.CANCELLED:
                cancelled.append(key)
            else:
                seen = KeyReceipt(STATES[letter]).seen_at(at_ms, expires_ms, durable=durable)
                too_late[key] = seen.state
        return Cancelled(tuple(sorted(cancelled)), too_late, durable)

    def payload(self, push_id: str) -> Mapping[str, Any] | None:
        """Give the task's argument that is kept for a push which no worker has had; None if there is none."""
        with answering():
            text = self._client.hget(self._name(push_id), PAYLOAD)
        return cast(dict[str, Any], orjson.loads(text)) if text else None

    def get(self, push_id: str) -> Receipt | None:
        """Read a receipt, as it was written: see :meth:`Receipt.seen_at`.  Its keys are in alphabetical order."""
        return self.get_all([push_id])[0]

    def get_all(self, push_ids: Sequence[str]) -> list[Receipt | None]:
        """Read several, in one round trip."""
        batch = Batch(self._client)
        batch.command("TIME")
        for push_id in push_ids:
            batch.command("HGETALL", self._name(push_id))
        time, *answers = batch.run()
        self._clock.learn(*map(int, time))
        return [_read(push_id, _fields(answer)) for push_id, answer in zip(push_ids, answers, strict=True)]

    def _name(self, push_id: str) -> str:
        return f"{self._namespace}:receipt:{{{slot(push_id)}}}"


def _read_meta(text: str) -> tuple[bool, tuple[str, ...], int]:
    words = tuple(text.split(" "))
    return words[2] == "1", words, int(words[6])


def _fields(answer: Any) -> Mapping[str, str]:
    return answer if isinstance(answer, Mapping) else dict(zip(answer[::2], answer[1::2], strict=True))


def _read(push_id: str, fields: Mapping[str, str]) -> Receipt | None:
    if META not in fields:
        return None
    durable, words, expires_ms = _read_meta(fields[META])
    keys = {name.removeprefix(KEY): read_key(value) for name, value in sorted(fields.items()) if name.startswith(KEY)}
    return Receipt(
        push_id=push_id,
        op=int(words[0]),
        priority=Priority(words[1]),
        durable=durable,
        traced=words[3] == "1",
        accepted_ms=int(words[4]),
        not_before_ms=int(words[5]),
        expires_ms=expires_ms,
        keys=keys,
    )
