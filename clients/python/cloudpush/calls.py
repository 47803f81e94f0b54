"""One HTTP call to cloudpush: tried again while that is safe and in time, its errors told as ours.

Refuses to repeat a call whose answer was lost unless the caller says that repeating does no harm.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from weakref import WeakSet

import requests
from requests.auth import AuthBase
from urllib3.exceptions import NewConnectionError

from cloudpush.errors import FieldError, Problem, Unreachable
from cloudpush.retrying import Attempts

NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DEFAULT_RETRY_AFTER_S = 1.0

Result = TypeVar("Result")


class Http:
    """Calls one server.  Thread-safe: each thread has connections of its own."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout_s: float,
        patience_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.url = url.rstrip("/")
        self._auth = _Bearer(api_key) if api_key else None
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self.sleep, self._clock, self._dice = sleep, clock, dice
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._sessions: WeakSet[requests.Session] = WeakSet()

    def close(self) -> None:
        """Close every thread's connections."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def attempts(self, longer_s: float = 0.0) -> Attempts:
        """Begin as many attempts as the patience allows, and *longer_s*."""
        return Attempts(self._patience_s + longer_s, self._clock, self._dice)

    def call(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool = True,
        longer_s: float = 0.0,
        within: Attempts | None = None,
        **request: Any,
    ) -> tuple[dict[str, Any], bool]:
        """Give the answer, and whether an earlier attempt may have been carried out, too.

        *repeatable*: an answer that was lost may be asked for again.  *longer_s*: how long the server may take more
        than usual.  *within*: the attempts of a longer undertaking that this call is part of.  Raises Unreachable or
        Problem.
        """
        attempts = self.attempts(longer_s) if within is None else within
        lost = False
        while True:
            timeout_s = min(self._timeout_s + longer_s, max(attempts.left_s, 0.001))
            try:
                answer = self._session().request(method, self.url + path, timeout=timeout_s, **request)
            except requests.RequestException as error:
                failure: Problem | Unreachable = Unreachable(self.url, reason_of(error))
                again = _never_sent(error) or (repeatable and _no_answer(error))
                lost = lost or not _never_sent(error)
                retry_after_s = None
            else:
                if answer.ok:
                    return _object(answer), lost
                failure = problem_of(answer)
                retry_after_s = failure.retry_after_s
                again = retry_after_s is not None
            wait_s = attempts.next_wait_s(retry_after_s) if again else None
            if wait_s is None:
                if isinstance(failure, Problem):
                    failure.after_loss = lost
                raise failure
            self.sleep(wait_s)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is None:
            session = self._mine.session = requests.Session()
            session.auth = self._auth
            with self._lock:
                self._sessions.add(session)
        return session


class _Bearer(AuthBase):
    """Shows the API key.  As auth, not as a header, which a ~/.netrc would replace."""

    def __init__(self, api_key: str) -> None:
        self._header = f"Bearer {api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


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
    kind = str(said.get("type") or "about:blank")
    return Problem(answer.status_code, title, str(said.get("detail") or ""), errors, _retry_after_s(answer), kind)


def reason_of(error: requests.RequestException) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)


def read(said: Mapping[str, Any], reader: Callable[[Mapping[str, Any]], Result]) -> Result:
    """Read an answer with *reader*; Problem if it is not what cloudpush says."""
    try:
        return reader(said)
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(HTTPStatus.OK, "not an answer of cloudpush", f"is the URL right? ({error!r})") from error


def _retry_after_s(answer: requests.Response) -> float | None:
    if answer.status_code not in NOT_NOW:
        return None
    try:
        return max(0.0, float(answer.headers.get("Retry-After", _DEFAULT_RETRY_AFTER_S)))
    except ValueError:
        return _DEFAULT_RETRY_AFTER_S  # the other form is a date; ours never sends one


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise Problem(answer.status_code, "not an answer of cloudpush", "is the URL right?")
    return said


def _no_answer(error: requests.RequestException) -> bool:
    """Whether another attempt may fare better.  An error of TLS, or in what was asked, stays one."""
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, lost) and not isinstance(error, requests.exceptions.SSLError)


def _never_sent(error: requests.RequestException) -> bool:
    """Whether the server cannot have seen it."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", cause), NewConnectionError)
