"""/v1/pushes/{id}: what became of a push, and taking it back.

Refuses to write receipts, except to cancel: each transition has its owner (store/receipts.py).
"""

import re
from collections.abc import Callable

from flask import Response, request
from pydantic import BaseModel, Field
from werkzeug.exceptions import NotFound

from app.answers import answer
from app.errors import NothingToCancel
from app.metrics import Metrics
from app.records import Records
from app.routes import Answer, Parameter, Route
from app.times import show_ms
from app.waiting import Waiters
from proto.errors import FieldProblem, InvalidPush
from store.receipts import KeyReceipt, Receipt, State

_TAG = "pushes"
_PUSH_ID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
_WAITED_FOR = (State.DISPATCHED, State.EMITTED, State.ACKED)
MAX_WAIT_S = 30
DEFAULT_WAIT_S = 10


class KeyFate(BaseModel):
    """What became of a push for one key; what has not happened has no time."""

    state: State
    dispatched_at: str | None = Field(default=None, description="A worker has it.")
    emitted_at: str | None = Field(default=None, description="First handed to a session.")
    acked_at: str | None = Field(default=None, description="First acknowledged.")
    ended_at: str | None = Field(default=None, description="Ended without (further) delivery.")
    sessions: int = Field(description="Sessions that it was handed to.")
    acks: int = Field(description="Sessions that acknowledged it.")
    reason: str | None = None
    offset: int | None = Field(default=None, description="Its place in the key's inbox, with epoch.")
    epoch: str | None = None


class PushReceipt(BaseModel):
    """What became of a push; *state* is that of the key that is least far.  Times: RFC 3339, UTC."""

    push_id: str
    state: State
    op: int
    priority: str
    durable: bool
    trace: bool
    accepted_at: str
    deliver_at: str | None = Field(default=None, description="When it is due, if not at once.")
    expires_at: str
    keys: dict[str, KeyFate]


class Cancellation(BaseModel):
    """What of a push was taken back, and the state of what was not."""

    push_id: str
    cancelled: list[str]
    too_late: dict[str, State]


class Fates:
    """The endpoints."""

    def __init__(self, records: Records, waiters: Waiters, *, now_ms: Callable[[], int], metrics: Metrics) -> None:
        self._records = records
        self._waiters = waiters
        self._now_ms = now_ms
        self._metrics = metrics

    def receipt(self, push_id: str) -> Response:
        """Give the receipt, once it has got as far as was asked for."""
        wanted, timeout_s = _asked()
        found = self._look(push_id)
        if wanted is not None and not found.reached(wanted):
            with self._waiters.seat():
                found = self._waiters.until(lambda: self._look(push_id), lambda seen: seen.reached(wanted), timeout_s)
        return answer(shown(found).model_dump(mode="json", exclude_none=True))

    def cancel(self, push_id: str) -> Response:
        """Take back what has not been emitted; what is cancelled already is so again."""
        done = self._records.receipts.cancel(push_id, self._now_ms()) if _PUSH_ID.fullmatch(push_id) else None
        if done is None:
            raise _no_receipt(push_id)
        if not done.cancelled:
            raise NothingToCancel(push_id, done.too_late)
        if done.durable:
            batch = self._records.batch()
            for key in done.cancelled:
                self._records.inbox.remove(batch, key, push_id)
            batch.run()
        self._metrics.cancelled.inc()
        return answer(Cancellation(push_id=push_id, cancelled=list(done.cancelled), too_late=dict(done.too_late)))

    def _look(self, push_id: str) -> Receipt:
        found = self._records.receipts.get(push_id) if _PUSH_ID.fullmatch(push_id) else None
        if found is None:
            raise _no_receipt(push_id)
        return found.seen_at(self._now_ms())

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        wait = Parameter(
            "wait",
            "Answer once each key has got so far, or has ended.",
            {"enum": [state.value for state in _WAITED_FOR]},
        )
        timeout = Parameter(
            "timeout_s",
            "Answer with what there is after so many seconds.",
            {"type": "integer", "minimum": 1, "maximum": MAX_WAIT_S, "default": DEFAULT_WAIT_S},
        )
        return (
            Route(
                "GET",
                "/v1/pushes/<push_id>",
                self.receipt,
                "What became of a push",
                _TAG,
                {200: Answer("The receipt of a durable, traced or scheduled push.", PushReceipt)},
                (401, 404, 422, 503),
                parameters=(wait, timeout),
            ),
            Route(
                "DELETE",
                "/v1/pushes/<push_id>",
                self.cancel,
                "Cancel what has not been emitted",
                _TAG,
                {200: Answer("Cancelled for at least one key.", Cancellation)},
                (401, 403, 404, 409, 503),
            ),
        )


def shown(receipt: Receipt) -> PushReceipt:
    """Put *receipt* as callers see it."""
    return PushReceipt(
        push_id=receipt.push_id,
        state=receipt.state,
        op=receipt.op,
        priority=receipt.priority.value,
        durable=receipt.durable,
        trace=receipt.traced,
        accepted_at=show_ms(receipt.accepted_ms),
        deliver_at=_time(receipt.not_before_ms),
        expires_at=show_ms(receipt.expires_ms),
        keys={key: _fate(kept) for key, kept in receipt.keys.items()},
    )


def _fate(kept: KeyReceipt) -> KeyFate:
    return KeyFate(
        state=kept.state,
        dispatched_at=_time(kept.dispatched_ms),
        emitted_at=_time(kept.emitted_ms),
        acked_at=_time(kept.acked_ms),
        ended_at=_time(kept.ended_ms),
        sessions=kept.sessions,
        acks=kept.acks,
        reason=kept.reason or None,
        offset=kept.place.offset if kept.place else None,
        epoch=kept.place.epoch if kept.place else None,
    )


def _time(unix_ms: int) -> str | None:
    return show_ms(unix_ms) if unix_ms else None


def _asked() -> tuple[State | None, int]:
    """Read how far, and for how long, the caller waits."""
    wait, text = request.args.get("wait"), request.args.get("timeout_s")
    problems = []
    if wait is not None and wait not in _WAITED_FOR:
        problems.append(FieldProblem("wait", f"must be one of {', '.join(_WAITED_FOR)}"))
    timeout_s = DEFAULT_WAIT_S if text is None else _integer(text)
    if not 1 <= timeout_s <= MAX_WAIT_S:
        problems.append(FieldProblem("timeout_s", f"must be an integer from 1 to {MAX_WAIT_S}"))
    if problems:
        raise InvalidPush(problems)
    return None if wait is None else State(wait), timeout_s


def _integer(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_WAIT_S)) else 0


def _no_receipt(push_id: str) -> NotFound:
    return NotFound(
        f"No receipt of {push_id[:64]!r}. Ephemeral pushes leave none, unless they are sent with trace or a delay; "
        "the others' are kept for a day after they expire."
    )
