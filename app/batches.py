"""/v1/pushes:batch: many pushes in one call, each with a fate of its own.

Nothing is promised before all of the body is known to be JSON.  Then pushes are read, validated and handed over in
chunks, in their order: what one has asked for is forgotten once it has a result, and only the bytes of the rest are
held.  A push that is refused, for whatever reason, spoils no other; a call is refused as a whole when it is no batch,
and with 429 or 503 when nothing of it was taken and all of it may be sent again.

Refuses to have rules of its own for a push: app/requests.py validates, app/promise.py accepts.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, request
from pydantic import BaseModel, Field

from app.answers import answer
from app.asked import Asked, Ending
from app.batch_body import Piece, split, value_of
from app.body import json_bytes
from app.metrics import Metrics
from app.openapi import ProblemAnswer
from app.problems import Problem, problem_of
from app.promise import Promises
from app.pushes import Accepted, fresh_id
from app.requests import Limits, PushRequest, digest_of, read_push
from app.routes import Answer, Route
from proto.queues import Priority
from proto.task import MOST_PUSHES as MOST_IN_TASK
from tasks.courtesy import Courtesy

MOST_PUSHES = 1000
# A chunk is one wait for confirms, and at most one round trip to the store for each step.
_CHUNK_PUSHES = 5 * MOST_IN_TASK
_CHUNK_TARGETS = 2000
_CHUNK_BYTES = 1_048_576
_NOT_NOW = frozenset((HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE))

log = structlog.get_logger(__name__)


class BatchRequest(BaseModel):
    """Body of `POST /v1/pushes:batch`.  Each push is as in `POST /v1/pushes`; one at fault spoils no other."""

    pushes: list[PushRequest] = Field(min_length=1, max_length=MOST_PUSHES)


class ItemProblem(ProblemAnswer):
    """Why one push of a batch was not accepted, as `POST /v1/pushes` would have answered."""

    retry_after_s: int | None = Field(default=None, description="It may be sent again, unchanged, after so long.")


class Refused(BaseModel):
    """The result of a push that was not accepted."""

    error: ItemProblem


class BatchResults(BaseModel):
    """One result for each push, in their order."""

    results: list[Accepted | Refused]


class Batches:
    """The endpoint; *now_ms* gives the time by which pushes expire."""

    def __init__(
        self,
        promises: Promises,
        limits: Limits,
        *,
        max_batch_bytes: int,
        max_body_bytes: int,
        max_waiting_pushes: int,
        now_ms: Callable[[], int],
        metrics: Metrics,
        courtesy: Courtesy,
    ) -> None:
        self._promises = promises
        self._limits = limits
        self._max_batch_bytes = max_batch_bytes
        self._max_push_bytes = max_body_bytes
        self._chunk_pushes = min(_CHUNK_PUSHES, max(1, max_waiting_pushes // 2))  # more is never taken at once
        self._now_ms = now_ms
        self._metrics = metrics
        self._courtesy = courtesy
        # Batches that are read at the same time gain nothing, for one interpreter reads them, and keep single pushes
        # waiting for it, one for each that competes.
        self._one_at_a_time = threading.Lock()

    def create(self) -> Response:
        """Accept pushes."""
        began = time.perf_counter()
        raw = json_bytes(request, self._max_batch_bytes)
        with self._one_at_a_time:
            pieces = split(raw, most=MOST_PUSHES, max_piece_bytes=self._max_push_bytes)
        until = self._promises.patience()
        endings: list[Ending] = []
        chunks = self._chunks(raw, pieces)
        while chunk := self._next(chunks):
            endings += self._ended(chunk, until)
        self._metrics.batch_pushes.observe(len(endings))
        self._metrics.batch_seconds.observe(time.perf_counter() - began)
        return self._answer(endings)

    def _next(self, chunks: Iterator[list[Asked | Exception]]) -> list[Asked | Exception] | None:
        with self._one_at_a_time:
            began = time.perf_counter()
            chunk = next(chunks, None)
            worked_s = time.perf_counter() - began
        if any(isinstance(one, Asked) and one.push.priority is Priority.BULK for one in chunk or ()):
            self._courtesy.rest(worked_s)
        return chunk

    def _chunks(self, raw: bytes, pieces: Sequence[Piece]) -> Iterator[list[Asked | Exception]]:
        """Give the pushes in bounded chunks, each push read or with what is wrong with it."""
        chunk: list[Asked | Exception] = []
        targets = size = 0
        for piece in pieces:
            asked = self._read(raw, piece)
            if isinstance(asked, Asked):
                targets += len(asked.push.keys)
            size += piece.end - piece.start
            chunk.append(asked)
            if len(chunk) >= self._chunk_pushes or targets >= _CHUNK_TARGETS or size >= _CHUNK_BYTES:
                yield chunk
                chunk, targets, size = [], 0, 0
        if chunk:
            yield chunk

    def _read(self, raw: bytes, piece: Piece) -> Asked | Exception:
        if piece.flaw is not None:
            return piece.flaw
        try:
            value = value_of(raw[piece.start : piece.end])
            now_ms = self._now_ms()
            push = read_push(value, now_ms=now_ms, push_id=fresh_id(now_ms), limits=self._limits)
            digest = digest_of(value) if push.request_id is not None else ""
            return Asked(push, digest, value.get("trace", False))
        except Exception as error:  # noqa: BLE001 - ours or the caller's: it is the result of this push, of no other
            return error

    def _ended(self, chunk: Sequence[Asked | Exception], until: float) -> list[Ending]:
        """Have promised what can be, and say how each ended."""
        valid = [asked for asked in chunk if isinstance(asked, Asked)]
        try:
            endings = iter(self._promises.accept_many(valid, until) if valid else ())
        except Exception as error:  # noqa: BLE001 - a fault of ours: earlier chunks were promised all the same
            return [one if isinstance(one, Exception) else error for one in chunk]
        return [next(endings) if isinstance(one, Asked) else one for one in chunk]

    def _answer(self, endings: Sequence[Ending]) -> Response:
        problems = [_problem(ending) for ending in endings if isinstance(ending, Exception)]
        if len(problems) == len(endings) and all(problem.status in _NOT_NOW for problem in problems):
            return max(problems, key=_retry_after_s).response(im=False)
        for problem in problems:
            self._metrics.refused.labels(str(problem.status)).inc()
        left = iter(problems)
        results = [_accepted(ending) if isinstance(ending, str) else _refused(next(left)) for ending in endings]
        return answer({"results": results}, 202)

    def routes(self) -> tuple[Route, ...]:
        """List the endpoint."""
        return (
            Route(
                "POST",
                "/v1/pushes:batch",
                self.create,
                f"Push up to {MOST_PUSHES} messages; one result for each, in their order",
                "pushes",
                {202: Answer("Each push was accepted, as its 202 alone would say, or has an error.", BatchResults)},
                (400, 401, 403, 413, 415, 422, 429, 503),
                body=BatchRequest,
            ),
        )


def _problem(error: Exception) -> Problem:
    problem = problem_of(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unexpected_error", exc_info=error, path=request.path)
    return problem


def _accepted(push_id: str) -> dict[str, Any]:
    return {"push_id": push_id, "status": "accepted", "href": f"/v1/pushes/{push_id}"}


def _refused(problem: Problem) -> dict[str, Any]:
    said = problem.body()
    if problem.status in _NOT_NOW:
        said["retry_after_s"] = _retry_after_s(problem)
    return {"error": said}


def _retry_after_s(problem: Problem) -> int:
    return int(dict(problem.headers).get("Retry-After", 0))
