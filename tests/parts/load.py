"""A steady load of pushes from several threads, and the account of what became of each.

Refuses to count anything that the server did not say: accepted means 202, delivered means that a session has it.
"""

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import requests

from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.process import until

_CALL_S = 10.0


@dataclass(frozen=True)
class Answer:
    """One POST as its caller saw it; *push_id* "" unless it was accepted."""

    key: str
    status: int
    began: float  # time.monotonic(), which is also its message
    took_s: float
    push_id: str = ""
    retry_after: str | None = None


class Load:
    """Pushes to *keys* in turn, *per_second* in all, from the block's begin to its end (or :meth:`stop`)."""

    def __init__(
        self, fleet: Fleet, keys: Sequence[str], *, per_second: float, threads: int = 4, extra: Mapping[str, Any] = {}
    ) -> None:
        self._url = f"{fleet.url}/v1/pushes"
        self._extra = dict(extra)
        self._keys = itertools.cycle(keys)
        self._every_s = threads / per_second
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n / per_second,)) for n in range(threads)]
        self.answers: list[Answer] = []
        self.broken: list[str] = []  # calls that got no answer at all

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Push no more, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_CALL_S + 5)

    @property
    def accepted(self) -> list[Answer]:
        """Those with 202."""
        return [answer for answer in list(self.answers) if answer.status == 202]

    @property
    def refused(self) -> list[Answer]:
        """Those with anything else."""
        return [answer for answer in list(self.answers) if answer.status != 202]

    def until_more(self, accepted: int, timeout_s: float = 30.0) -> None:
        """Wait until *accepted* more pushes were accepted."""
        goal = len(self.accepted) + accepted
        until(lambda: len(self.accepted) >= goal, timeout_s, f"{accepted} more accepted pushes")

    def _run(self, first_s: float) -> None:
        due = time.monotonic() + first_s
        with requests.Session() as caller:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._every_s, time.monotonic() - 1)  # no burst after a pause
                self._push(caller, next(self._keys))

    def _push(self, caller: requests.Session, key: str) -> None:
        began = time.monotonic()
        try:
            response = caller.post(self._url, json={"keys": [key], "msg": began, **self._extra}, timeout=_CALL_S)
        except requests.RequestException as error:
            self.broken.append(repr(error))
            return
        push_id = response.json()["push_id"] if response.status_code == 202 else ""
        retry_after = response.headers.get("Retry-After")
        self.answers.append(Answer(key, response.status_code, began, time.monotonic() - began, push_id, retry_after))


@dataclass(frozen=True)
class Account:
    """What became of the accepted pushes."""

    accepted: int
    refused: int
    delivered: int
    lost: int
    duplicates: int
    took_s: float
    slowest_refusal_s: float

    def __str__(self) -> str:
        return (
            f"accepted {self.accepted}, refused {self.refused} (slowest {self.slowest_refusal_s:.2f} s), "
            f"delivered {self.delivered}, lost {self.lost}, duplicates {self.duplicates}, "
            f"complete {self.took_s:.1f} s after the last"
        )


def settle(load: Load, listeners: Sequence[Listener], timeout_s: float) -> Account:
    """Wait until every accepted push has arrived, or *timeout_s* is over, and give the account."""
    by_key: dict[str, set[str]] = {}
    for answer in load.accepted:
        by_key.setdefault(answer.key, set()).add(answer.push_id)
    holders: dict[str, list[Listener]] = {}
    for listener in listeners:
        holders.setdefault(listener.key, []).append(listener)
    began = time.monotonic()
    deadline = began + timeout_s
    for key, listener in ((key, one) for key, those in holders.items() for one in those):
        try:
            listener.wait_for(by_key.get(key, ()), max(0.0, deadline - time.monotonic()))
        except AssertionError:
            break  # counted below
    lost = sum(len(ids - one.counts().keys()) for key, ids in by_key.items() for one in holders[key])
    twice = sum(count - 1 for listener in listeners for count in listener.counts().values())
    owed = sum(len(ids) * len(holders[key]) for key, ids in by_key.items())
    slowest = max((answer.took_s for answer in load.refused), default=0.0)
    return Account(len(load.accepted), len(load.refused), owed - lost, lost, twice, time.monotonic() - began, slowest)
