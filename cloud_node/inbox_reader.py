"""Reads inboxes and cursors from the store for the hub: one native thread, many keys a round trip.

Refuses to know sessions.  What it is asked for waits in bounded form: a page for each key at most, a look-up for each
session that connects, and the keys that are checked now and then.  While the store is away it tries again and again;
what was asked stays.  Results are posted to the hub's thread.

Interleavings: the hub's thread asks, this one takes all that waits under the lock and answers each ask once, in the
order in which the store was read: what comes later is never older.  A page that is asked for while one of the same key
is under way waits for the next round.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import redis
import structlog

from proto.errors import StoreUnavailable
from proto.message import Place
from store.batch import Batch
from store.cursors import Cursors
from store.inbox import Inbox, Page, Position

_RETRY_S = 0.25
_MOST_LOOKS = 256
_MOST_PAGES = 64

log = structlog.get_logger()

Looked = Callable[[Mapping[str, Position], Mapping[str, Place]], None]


@dataclass(frozen=True, slots=True)
class Look:
    """How far do *keys* reach, and how far has *session_key* acked *acked*; *then* is called on the hub's thread."""

    keys: Sequence[str]
    session_key: str
    acked: Sequence[str]
    then: Looked


class _Ask(NamedTuple):
    """A page that is asked for."""

    after: int
    limit: int
    then: Callable[[Page], None]


class InboxReader:
    """See the module.  *post* runs a function on the hub's thread; *on_checked* and what asks bring are run there."""

    def __init__(
        self,
        client: redis.Redis,
        inbox: Inbox,
        cursors: Cursors,
        post: Callable[[Callable[[], object]], None],
        on_checked: Callable[[Mapping[str, Position]], None],
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._cursors = cursors
        self._post = post
        self._on_checked = on_checked
        self._asked = threading.Condition()
        self._looks: deque[Look] = deque()
        self._pages: dict[str, _Ask] = {}
        self._checks: deque[Sequence[str]] = deque()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        with self._asked:
            self._stopped = True
            self._asked.notify()

    def look(self, look: Look) -> None:
        """Ask how far inboxes reach."""
        with self._asked:
            self._looks.append(look)
            self._asked.notify()

    def read(self, key: str, after: int, limit: int, then: Callable[[Page], None]) -> None:
        """Ask for a page; takes the place of an earlier ask for the same key, which nobody waits for any more."""
        with self._asked:
            self._pages[key] = _Ask(after, limit, then)
            self._asked.notify()

    def check(self, batches: Sequence[Sequence[str]]) -> None:
        """Ask how far many keys reach, when there is nothing better to do; takes the place of an earlier ask."""
        with self._asked:
            self._checks = deque(batches)
            self._asked.notify()

    def _run(self) -> None:
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._stopped or self._looks or self._pages or self._checks)
                if self._stopped:
                    return
                looks = [self._looks.popleft() for _ in range(min(_MOST_LOOKS, len(self._looks)))]
                pages = {key: self._pages.pop(key) for key in list(self._pages)[:_MOST_PAGES]}
                checks = self._checks.popleft() if self._checks and not looks and not pages else ()
            try:
                self._serve(looks, pages, checks)
            except StoreUnavailable as error:
                log.warning("the store is away; reading inboxes again", reason=str(error))
                self._put_back(looks, pages, checks)
            except Exception as error:
                # Without this thread sessions would wait for their messages until they reconnect elsewhere.
                log.exception("reading inboxes failed; trying again", reason=repr(error))
                self._put_back(looks, pages, checks)

    def _put_back(self, looks: list[Look], pages: dict[str, _Ask], checks: Sequence[str]) -> None:
        with self._asked:
            self._looks.extendleft(reversed(looks))
            self._pages = pages | self._pages
            if checks:
                self._checks.appendleft(checks)
            until = time.monotonic() + _RETRY_S
            self._asked.wait_for(lambda: self._stopped or time.monotonic() >= until, _RETRY_S)

    def _serve(self, looks: list[Look], pages: dict[str, _Ask], checks: Sequence[str]) -> None:
        if looks:
            self._look(looks)
        by_limit: dict[int, dict[str, int]] = {}
        for key, ask in pages.items():
            by_limit.setdefault(ask.limit, {})[key] = ask.after
        for limit, after_by_key in by_limit.items():
            for page in self._inbox.read(after_by_key, limit).values():
                self._post(partial(pages.pop(page.key).then, page))
        if checks:
            self._post(partial(self._on_checked, self._inbox.positions(checks)))

    def _look(self, looks: list[Look]) -> None:
        batch = Batch(self._client)
        keys = {key: self._inbox.ask(batch, key) for key in dict.fromkeys(key for look in looks for key in look.keys)}
        acked = [self._cursors.ask(batch, look.session_key, look.acked) if look.acked else None for look in looks]
        answers = batch.run()
        positions = {key: self._inbox.position(answers[place]) for key, place in keys.items()}
        for place in acked:
            look = looks.pop(0)  # one that was answered is not put back
            cursors = {} if place is None else self._cursors.read(look.acked, answers[place])
            mine = {key: positions[key] for key in look.keys}
            self._post(partial(look.then, mine, cursors))
