"""Our errors → HTTP: one table, RFC 9457 bodies.

Refuses to show callers what only we should see: texts of unexpected errors go to the log, never to the wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app.answers import answer, enveloped, speaks_im
from app.body import NotJson
from app.errors import NoNode, NothingToCancel, Overloaded, RequestIdReused, RequestUnderWay, TooManyWaiting
from proto.errors import (
    BrokerUnavailable,
    CloudpushError,
    FieldProblem,
    InvalidPush,
    Refused,
    StoreUnavailable,
    UnknownServer,
)
from proto.queues import Priority

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of error looks to callers."""

    status: int
    slug: str
    title: str


KINDS: dict[type[CloudpushError], Kind] = {
    InvalidPush: Kind(422, "invalid-fields", "The request has fields at fault"),
    BrokerUnavailable: Kind(503, "broker-unavailable", "The broker cannot take it now"),
    StoreUnavailable: Kind(503, "store-unavailable", "The store does not answer now"),
    UnknownServer: Kind(404, "unknown-server", "No live node has that name"),
    NoNode: Kind(503, "no-node", "No node can take a browser now"),
    RequestIdReused: Kind(409, "request-id-reused", "The request_id stands for another call"),
    RequestUnderWay: Kind(503, "request-under-way", "The same call is still under way"),
    NothingToCancel: Kind(409, "nothing-to-cancel", "It is too late to cancel"),
    TooManyWaiting: Kind(503, "too-many-waiting", "Too many requests wait"),
}
# By the priority of the push: high is refused only when the service as a whole cannot keep up.
OVERLOADED: dict[Priority, Kind] = {
    Priority.HIGH: Kind(503, "overloaded", "Too much waits already"),
    Priority.NORMAL: Kind(429, "overloaded", "Too much waits already"),
    Priority.BULK: Kind(429, "overloaded", "Too much waits already"),
}
REFUSALS: dict[str, Kind] = {
    "unauthenticated": Kind(401, "unauthenticated", "An API key is needed"),
    "cross-origin": Kind(403, "cross-origin", "Another site's page may not do this"),
    "foreign-host": Kind(403, "foreign-host", "Not served under this name"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error answer, whichever form it takes."""

    status: int
    slug: str
    title: str
    detail: str
    errors: Sequence[FieldProblem] = ()
    headers: Sequence[tuple[str, str]] = ()

    def response(self, *, im: bool) -> Response:
        """Give it as problem+json, or in im-cloud's envelope."""
        if im:
            made = enveloped(self._errors() or None, code=self.status, msg=self.detail, status=self.status)
        else:
            made = answer(self.body(), self.status)
            made.content_type = PROBLEM_JSON
        for name, value in self.headers:
            made.headers[name] = value
        return made

    def body(self) -> dict[str, Any]:
        """Give it as RFC 9457 has it."""
        kind = f"urn:cloudpush:{self.slug}" if self.slug else "about:blank"
        said = {"type": kind, "title": self.title, "status": self.status, "detail": self.detail}
        return {**said, "errors": self._errors()}

    def _errors(self) -> list[dict[str, str]]:
        return [{"field": problem.field, "message": problem.message} for problem in self.errors]


def problem_of(error: Exception) -> Problem:
    """Find what callers may know of *error*."""
    if isinstance(error, HTTPException):
        return _http_problem(error)
    if isinstance(error, Refused) and (kind := REFUSALS.get(error.code)):
        headers = [("WWW-Authenticate", 'Bearer realm="cloudpush"')] if kind.status == HTTPStatus.UNAUTHORIZED else []
        return Problem(kind.status, kind.slug, kind.title, error.message, headers=headers)
    if isinstance(error, Overloaded):
        kind, retry = OVERLOADED[error.priority], [("Retry-After", str(error.retry_after_s))]
        return Problem(kind.status, kind.slug, kind.title, str(error), headers=retry)
    if kind := KINDS.get(type(error)):  # type: ignore[arg-type]
        retry = [("Retry-After", str(RETRY_AFTER_S))] if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else []
        errors = error.problems if isinstance(error, InvalidPush | NothingToCancel) else ()
        return Problem(kind.status, kind.slug, kind.title, str(error), errors, retry)
    return Problem(500, "", "Internal Server Error", "A fault of ours; it is in the log.")


def _http_problem(error: HTTPException) -> Problem:
    status = error.code or 500
    headers = [(name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After", "Location")]
    errors = error.problems if isinstance(error, NotJson) else ()
    return Problem(status, "", HTTPStatus(status).phrase, error.description or "", errors, headers)


def register(app: Flask) -> None:
    """Make *app* answer every error this way."""

    def handle(error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("unexpected_error", exc_info=error, path=request.path)
        return problem.response(im=speaks_im(request.path))

    app.register_error_handler(Exception, handle)
