"""The REST interface, with a deadline on every call and a bound on every retry.

A call is tried again only when the server said "not now" (429, 503): then it took nothing.  Refuses to repeat a push
whose answer was lost, since the server may have taken it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

import requests

from cloudpush.errors import FieldError, Problem, Unreachable

_NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DEFAULT_WAIT_S = 1.0
_SHORTEST_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server's promise to deliver a push, and where its fate can be asked."""

    push_id: str
    status: str
    href: str


class Client:
    """Calls one cloudpush.  *timeout_s*: longest wait for one answer; *patience_s*: longest wait over all retries."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._sleep = sleep
        self._http = requests.Session()
        if api_key:
            self._http.headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def push(self, body: Mapping[str, Any]) -> Accepted:
        """Push one message; *body* is that of ``POST /v1/pushes``.  Raises Problem or Unreachable."""
        answer = self._call("POST", "/v1/pushes", json=body)
        return Accepted(answer["push_id"], answer["status"], answer["href"])

    def receipt(self, push_id: str) -> dict[str, Any]:
        """What became of a push."""
        return self._call("GET", f"/v1/pushes/{quote(push_id, safe='')}")

    def nodes(self) -> list[dict[str, Any]]:
        """The live nodes."""
        nodes: list[dict[str, Any]] = self._call("GET", "/v1/nodes")["nodes"]
        return nodes

    def best_node(self) -> dict[str, Any]:
        """The node that the next browser should connect to: the least loaded one."""
        return self._call("GET", "/v1/nodes/best")

    def online(self) -> dict[str, Any]:
        """Totals over all nodes."""
        return self._call("GET", "/v1/online")

    def online_keys(self, keys: Sequence[str]) -> dict[str, int]:
        """Sessions of each key."""
        counts: dict[str, int] = self._call("GET", "/v1/online/keys", params={"key": list(keys)})["keys"]
        return counts

    def online_room(self, room: str) -> int:
        """Sessions in one room."""
        sessions: int = self._call("GET", f"/v1/online/rooms/{quote(room, safe='')}")["sessions"]
        return sessions

    def online_rooms(self, limit: int = 10) -> list[dict[str, Any]]:
        """The largest rooms, largest first."""
        rooms: list[dict[str, Any]] = self._call("GET", "/v1/online/rooms", params={"limit": limit})["rooms"]
        return rooms

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        patience_s = self._patience_s
        while True:
            try:
                answer = self._http.request(method, self.url + path, timeout=self._timeout_s, **request)
            except requests.RequestException as error:
                raise Unreachable(self.url, _reason(error)) from error
            if answer.ok:
                return _object(answer)
            problem = problem_of(answer)
            if problem.retry_after_s is None:
                raise problem
            wait_s = max(problem.retry_after_s, _SHORTEST_WAIT_S)
            if wait_s > patience_s:
                raise problem
            patience_s -= wait_s
            self._sleep(wait_s)


def problem_of(answer: requests.Response) -> Problem:
    """Read an error answer; one that is not problem+json (a proxy's, say) keeps its status."""
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    errors = tuple(
        FieldError(str(error.get("field", "")), str(error.get("message", "")))
        for error in said.get("errors") or ()
        if isinstance(error, dict)
    )
    title = str(said.get("title") or answer.reason or "error")
    return Problem(answer.status_code, title, str(said.get("detail") or ""), errors, _retry_after_s(answer))


def _retry_after_s(answer: requests.Response) -> float | None:
    if answer.status_code not in _NOT_NOW:
        return None
    try:
        return max(0.0, float(answer.headers.get("Retry-After", _DEFAULT_WAIT_S)))
    except ValueError:
        return _DEFAULT_WAIT_S  # the other form is a date; ours never sends one


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise Problem(answer.status_code, "not an answer of cloudpush", "is the URL right?")
    return said


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
