"""/v1/pushes: the call that everything else is for; and ending the sessions of a key."""

import os
from collections.abc import Callable

from flask import Response, request
from pydantic import BaseModel

from app.accept import Acceptor
from app.answers import answer
from app.body import read_json
from app.promise import Promises
from app.requests import Limits, PushRequest, digest_of, read_push
from app.routes import Answer, Route
from app.turn import turn_of
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from proto.message import new_push_id

_TAG = "pushes"


class Accepted(BaseModel):
    """The push is safe; the same call again, with its request_id, is answered the same."""

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
    """The endpoints; *now_ms* gives the time by which pushes expire."""

    def __init__(
        self,
        promises: Promises,
        acceptor: Acceptor,
        limits: Limits,
        *,
        max_body_bytes: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._promises = promises
        self._acceptor = acceptor
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._now_ms = now_ms

    def create(self) -> Response:
        """Accept a push."""
        asked = request._get_current_object()  # type: ignore[attr-defined]  # each look through the proxy costs
        turn = turn_of(asked.environ)
        value = read_json(asked, self._max_body_bytes)
        now_ms = self._now_ms()
        push = read_push(value, now_ms=now_ms, push_id=fresh_id(now_ms), limits=self._limits)
        push_id = push.push_id
        if turn is None:
            digest = digest_of(value) if push.request_id is not None else ""
            push_id = self._promises.accept(push, digest=digest, traced=value.get("trace", False))
        elif push.recorded or push.request_id is not None:
            turn.decline()  # the store is asked
        else:
            self._acceptor.begin(push, turn)
        return answer({"push_id": push_id, "status": "accepted", "href": f"/v1/pushes/{push_id}"}, 202)

    def disconnect(self, key: str) -> Response:
        """Close the sessions of a key."""
        if (flaw := key_names.flaw(key)) is not None:
            raise InvalidPush([FieldProblem("key", flaw)])
        self._acceptor.disconnect(fresh_id(self._now_ms()), [key])
        return answer(Disconnecting(), 202)

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        writes = (401, 403, 422, 503)  # a disconnect is of priority high
        return (
            Route(
                "POST",
                "/v1/pushes",
                self.create,
                "Push a message; 202 once, and only once, the broker (and the inbox, if durable) has it",
                _TAG,
                {202: Answer("Confirmed by the broker.", Accepted)},
                (400, 401, 403, 409, 413, 415, 422, 429, 503),
                body=PushRequest,
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
        )
