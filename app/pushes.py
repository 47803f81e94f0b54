"""/v1/pushes: the call that everything else is for; and what may be asked about a push afterwards."""

import os
import time
from collections.abc import Callable

from flask import Response, request
from pydantic import BaseModel
from werkzeug.exceptions import NotFound

from app.accept import Acceptor
from app.answers import answer
from app.body import read_json
from app.requests import Limits, PushRequest, read_push
from app.routes import Answer, Route
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from proto.message import new_push_id

_TAG = "pushes"


class Accepted(BaseModel):
    """The broker has confirmed the push."""

    push_id: str
    status: str = "accepted"
    href: str


class Disconnecting(BaseModel):
    """The broker has confirmed that the sessions are to be closed."""

    status: str = "accepted"


def fresh_id(now_ms: int) -> str:
    """Make the id of a push that arrives now."""
    return new_push_id(now_ms, os.urandom(10))


class Pushes:
    """The endpoints; *clock* gives Unix seconds."""

    def __init__(
        self, acceptor: Acceptor, limits: Limits, *, max_body_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._acceptor = acceptor
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._clock = clock

    def create(self) -> Response:
        """Accept a push."""
        value = read_json(request, self._max_body_bytes)
        now_ms = int(self._clock() * 1000)
        push = read_push(value, now_ms=now_ms, push_id=fresh_id(now_ms), limits=self._limits)
        self._acceptor.accept(push)
        return answer({"push_id": push.push_id, "status": "accepted", "href": f"/v1/pushes/{push.push_id}"}, 202)

    def disconnect(self, key: str) -> Response:
        """Close the sessions of a key."""
        if (flaw := key_names.flaw(key)) is not None:
            raise InvalidPush([FieldProblem("key", flaw)])
        self._acceptor.disconnect(fresh_id(int(self._clock() * 1000)), [key])
        return answer(Disconnecting(), 202)

    def receipt(self, push_id: str) -> Response:
        """Say that there are no receipts yet."""
        raise NotFound(f"No receipt of {push_id!r}: receipts are not supported yet.")

    def inbox(self, key: str) -> Response:
        """Say that there is no inbox yet."""
        raise NotFound(f"No messages kept for {key!r}: the inbox is not supported yet.")

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        writes = (401, 403, 422, 503)
        return (
            Route(
                "POST",
                "/v1/pushes",
                self.create,
                "Push a message; 202 once, and only once, the broker has confirmed it",
                _TAG,
                {202: Answer("Confirmed by the broker.", Accepted)},
                (400, 401, 403, 413, 415, 422, 503),
                body=PushRequest,
            ),
            Route("GET", "/v1/pushes/<push_id>", self.receipt, "Receipt (not supported yet)", _TAG, {}, (401, 404)),
            Route(
                "DELETE", "/v1/pushes/<push_id>", self.receipt, "Cancel (not supported yet)", _TAG, {}, (401, 403, 404)
            ),
            Route(
                "DELETE",
                "/v1/keys/<text:key>/sessions",
                self.disconnect,
                "Disconnect every session that answers to a key",
                _TAG,
                {202: Answer("Confirmed by the broker.", Disconnecting)},
                writes,
            ),
            Route("GET", "/v1/keys/<text:key>/messages", self.inbox, "Inbox (not supported yet)", _TAG, {}, (401, 404)),
        )
