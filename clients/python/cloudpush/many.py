"""Many pushes in few calls: what was not taken is sent again, and only that, until the call's patience is over.

Refuses to let one push decide over another: each has its own result, an error too.  Only a server that cannot be
reached, or that refuses a call as a whole, ends it for all that were not sent yet.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from cloudpush.calls import NOT_NOW, Http, read
from cloudpush.errors import CloudpushError, FieldError, Problem
from cloudpush.results import Accepted

MOST_PUSHES = 1000  # the server's bound for a call
_MOST_BYTES = 4 * 1024 * 1024  # half of what it takes by default
_PATH = "/v1/pushes:batch"

Result = Accepted | CloudpushError
Body = Mapping[str, Any]


def push_all(http: Http, bodies: Sequence[Body]) -> list[Result]:
    """Push *bodies*, and give a result for each, in their order.

    Raises TypeError or ValueError, with nothing sent, for what cannot be written as JSON.
    """
    written = [(body, json.dumps(body, separators=(",", ":"), allow_nan=False).encode()) for body in bodies]
    results: list[Result] = []
    stopped: CloudpushError | None = None
    for call in _calls(written):
        if stopped is not None:
            results += [stopped] * len(call)
            continue
        try:
            results += _push(http, call)
        except CloudpushError as error:
            results += [error] * len(call)
            if not (isinstance(error, Problem) and error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
                stopped = error
    return results


def _calls(written: Sequence[tuple[Body, bytes]]) -> Iterator[list[tuple[Body, bytes]]]:
    """Share them out to calls within the server's bounds."""
    call: list[tuple[Body, bytes]] = []
    size = 0
    for body, raw in written:
        if call and (len(call) == MOST_PUSHES or size + len(raw) > _MOST_BYTES):
            yield call
            call, size = [], 0
        call.append((body, raw))
        size += len(raw)
    if call:
        yield call


def _push(http: Http, call: Sequence[tuple[Body, bytes]]) -> list[Result]:
    """Make one call, and again for those that the server could not take then."""
    results: dict[int, Result] = {}
    attempts = http.attempts()
    open_ = list(range(len(call)))
    while True:
        try:
            said, _ = http.call(
                "POST",
                _PATH,
                data=b'{"pushes":[' + b",".join(call[at][1] for at in open_) + b"]}",
                headers={"Content-Type": "application/json"},
                repeatable=all("request_id" in call[at][0] for at in open_),
                within=attempts,
            )
        except CloudpushError as error:
            if len(open_) == len(call):
                raise
            results |= dict.fromkeys(open_, error)  # the others have been taken, or refused for good
            break
        sent = [call[at][0] for at in open_]
        results |= zip(open_, read(said, partial(_results, bodies=sent)), strict=True)
        waits = {at: result.retry_after_s for at in open_ if isinstance(result := results[at], Problem)}
        open_ = [at for at, wait_s in waits.items() if wait_s is not None]
        longest_s = max((wait_s for wait_s in waits.values() if wait_s is not None), default=0.0)
        if not open_ or (wait_s := attempts.next_wait_s(longest_s)) is None:
            break
        http.sleep(wait_s)
    return [results[at] for at in range(len(call))]


def _results(said: Mapping[str, Any], bodies: Sequence[Body]) -> list[Result]:
    return [_result(one, body) for one, body in zip(said["results"], bodies, strict=True)]


def _result(said: Mapping[str, Any], body: Body) -> Result:
    if "push_id" in said:
        return Accepted(said["push_id"], said["status"], said["href"], body.get("request_id"))
    error = said["error"]
    status = error["status"]
    return Problem(
        status,
        error["title"],
        error["detail"],
        tuple(FieldError(one["field"], one["message"]) for one in error["errors"]),
        float(error.get("retry_after_s", 1)) if status in NOT_NOW else None,
        error["type"],
    )
