"""/v1/keys/{key}/messages: what the inbox of a key holds.  Refuses to move any cursor: reading changes nothing."""

from typing import Any

import orjson
from flask import Response, request
from pydantic import BaseModel, Field

from app.answers import answer
from app.records import Records
from app.routes import Answer, Parameter, Route
from app.times import show_ms
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from store.inbox import Kept, Page

_TAG = "pushes"
MAX_MESSAGES = 1000
DEFAULT_MESSAGES = 100
_MAX_OFFSET = 2**53


class InboxMessage(BaseModel):
    """One durable message that has not expired."""

    offset: int
    epoch: str
    push_id: str
    op: int
    msg: Any
    accepted_at: str
    expires_at: str


class InboxPage(BaseModel):
    """Messages of a key in the order of their offsets; those missing in between have expired or were cancelled."""

    key: str
    epoch: str = Field(description="The epoch of the last offset; empty for a key that nothing was sent to.")
    last: int = Field(description="The last offset given.")
    trimmed: int = Field(description="The last offset that was dropped early, to make room; 0 for none.")
    messages: list[InboxMessage]
    more: bool = Field(description="There is more: ask again with after = the last offset here.")


class Messages:
    """The endpoint."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def messages(self, key: str) -> Response:
        """List messages of *key*."""
        after, limit = _number("after", 0, 0, _MAX_OFFSET), _number("limit", DEFAULT_MESSAGES, 1, MAX_MESSAGES)
        if (flaw := key_names.flaw(key)) is not None:
            raise InvalidPush([FieldProblem("key", flaw)])
        return answer(_shown(self._records.inbox.read({key: after}, limit)[key]))

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        after = Parameter(
            "after", "From the offset after this one on.", {"type": "integer", "minimum": 0, "default": 0}
        )
        limit = Parameter(
            "limit",
            "How many at most.",
            {"type": "integer", "minimum": 1, "maximum": MAX_MESSAGES, "default": DEFAULT_MESSAGES},
        )
        return (
            Route(
                "GET",
                "/v1/keys/<text:key>/messages",
                self.messages,
                "Durable messages of a key",
                _TAG,
                {200: Answer("Oldest first.", InboxPage)},
                (401, 422, 503),
                parameters=(after, limit),
            ),
        )


def _shown(page: Page) -> InboxPage:
    return InboxPage(
        key=page.key,
        epoch=page.position.end.epoch,
        last=page.position.last,
        trimmed=page.position.trimmed,
        messages=[_message(page, kept) for kept in page.messages],
        more=page.more,
    )


def _message(page: Page, kept: Kept) -> InboxMessage:
    return InboxMessage(
        offset=kept.offset,
        epoch=page.position.epoch_of(kept.offset),
        push_id=kept.push_id,
        op=kept.message.op,
        msg=orjson.loads(kept.message.body),
        accepted_at=show_ms(kept.accepted_ms),
        expires_at=show_ms(kept.expires_ms),
    )


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise InvalidPush([FieldProblem(name, f"must be an integer from {least} to {most}")])
