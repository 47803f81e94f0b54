"""Callers that number their messages, and repeat each with one request_id until it has its 202: as backends should.

Message n+1 of a key is sent only after n was accepted, so "in the order of their 202" has one meaning.  Now and then a
caller hangs up without reading the answer, or asks once more what was answered already: both must change nothing.

Refuses to give a message up before it is told to :meth:`stop`.

Threads: each owns its keys and its connection; what they find out goes to the account.
"""

import heapq
import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.soak.account import Account
from tests.soak.load import target_of

_ANSWER_S = 5.0
_RETRY_S = (0.2, 1.0)
_HANGS_UP, _ASKS_AGAIN = 0.01, 0.01
_THREADS = 12
_ACCEPTED = 202
_NOT_NOW = frozenset({500, 502, 503, 504, 429})


@dataclass(frozen=True)
class Door:
    """Where pushes are accepted, and what they say besides target, message and request_id."""

    port: int
    path: str = "/v1/pushes"
    more: Mapping[str, Any] = field(default_factory=lambda: {"durable": True})
    idempotent: bool = True


@dataclass(order=True)
class _Next:
    due: float
    key: str
    number: int = 0  # the last that was begun
    request_id: str = ""  # "": nothing is under way

    def begin(self) -> None:
        if not self.request_id:
            self.number += 1
            self.request_id = uuid.uuid4().hex


class Callers:
    """Push to *keys*, *per_second* in all, whenever :meth:`pushing`; numbers go on from one time to the next."""

    def __init__(self, door: Door, keys: Sequence[str], account: Account, *, per_second: float, seed: int) -> None:
        self._door = door
        self._account = account
        self._every_s = len(keys) / per_second
        self._random = random.Random(seed)
        self._groups = [[_Next(0.0, key) for key in keys[first::_THREADS]] for first in range(min(_THREADS, len(keys)))]

    @contextmanager
    def pushing(self, last_answers_s: float = 45.0) -> Iterator[None]:
        """Push during the block; then wait until what is under way has its 202, at most *last_answers_s*."""
        stop = threading.Event()
        threads = [_Caller(group, self, stop, last_answers_s) for group in self._groups]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(last_answers_s + 2 * _ANSWER_S)
                assert not thread.is_alive(), "a caller hangs"

    def message(self, state: _Next) -> bytes:
        """Write the body of a push."""
        body = {**target_of(state.key), "op": 9, "msg": {"n": state.number}, **self._door.more}
        return json.dumps(body | ({"request_id": state.request_id} if self._door.idempotent else {})).encode()


class _Caller(threading.Thread):
    def __init__(self, group: list[_Next], callers: Callers, stop: threading.Event, last_answers_s: float) -> None:
        super().__init__(daemon=True)
        self._callers, self._door, self._account = callers, callers._door, callers._account
        self._ended, self._last_answers_s = stop, last_answers_s
        self._random = random.Random(callers._random.random())
        self._wire = http.client.HTTPConnection("127.0.0.1", self._door.port, timeout=_ANSWER_S)
        now, every_s = time.monotonic(), callers._every_s
        self._queue = group
        for state in group:
            state.due = now + self._random.random() * every_s
        heapq.heapify(group)

    def run(self) -> None:
        while not self._ended.is_set():
            state = self._queue[0]
            if not self._ended.wait(max(0.0, state.due - time.monotonic())):
                state.begin()
                self._step(state)
                heapq.heapreplace(self._queue, state)
        self._finish(time.monotonic() + self._last_answers_s)
        self._wire.close()

    def _finish(self, deadline: float) -> None:
        """Repeat what is under way, begin nothing new."""
        for state in self._queue:
            while state.request_id and time.monotonic() < deadline:
                self._step(state)
                if state.request_id:
                    time.sleep(self._random.uniform(*_RETRY_S))
            if state.request_id:
                self._account.wrong("never_accepted", f"{state.key}: {state.number}")

    def _step(self, state: _Next) -> None:
        """Send once; moves the state on when it was accepted."""
        began = time.monotonic()
        push_id = self._send(state)
        if push_id is None:
            state.due = began + self._random.uniform(*_RETRY_S)
            return
        self._account.accept(state.key, state.number, time.monotonic())
        if self._door.idempotent and self._random.random() < _ASKS_AGAIN:
            again = self._send(state)
            if again not in (None, push_id):
                self._account.wrong("other_push_id", f"{state.key} {state.number}: {push_id}, then {again}")
        state.request_id = ""
        state.due = max(state.due + self._callers._every_s, began)

    def _send(self, state: _Next) -> str | None:
        """Give the push_id of a 202; None when the caller must send it again."""
        try:
            headers = {"Content-Type": "application/json"}
            self._wire.request("POST", self._door.path, self._callers.message(state), headers)
            if self._door.idempotent and self._random.random() < _HANGS_UP:
                self._wire.close()
                self._account.end("hung up")
                return None
            response = self._wire.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as broken:
            self._wire.close()
            self._account.end(type(broken).__name__, refused=True)
            return None
        self._account.end(str(status), refused=status != _ACCEPTED)
        if status == _ACCEPTED:
            return str(json.loads(body).get("push_id", ""))
        if status not in _NOT_NOW:
            self._account.wrong("unexpected", f"{state.key} {state.number}: {status} {body[:300]!r}")
        return None
