"""A store of which a test says what becomes of each round trip; it notes what was asked of it, once it was done."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from proto.message import Place
from store.batch import Batch
from store.inbox import Page, Position
from store.receipts import Mark, Owner, Step
from tests.fakes.inbox_store import InboxStore

AWAY = redis.ConnectionError("away")
REFUSED = redis.ResponseError("WRONGTYPE")


class ScriptedStore:
    """A client, receipts, cursors and inboxes; *fails* says what the next round trips raise (None: nothing).

    With *held*, a round trip waits for it.
    """

    def __init__(self) -> None:
        self.inboxes = InboxStore()
        self.fails: deque[Exception | None] = deque()
        self.always: Exception | None = None
        self.held: threading.Event | None = None
        self.trips: list[int] = []  # how many calls each had
        self.tried = 0
        self.done: list[Any] = []
        self.reads: list[dict[str, int]] = []

    @property
    def client(self) -> redis.Redis:
        """Itself, as a Batch needs it."""
        return cast(redis.Redis, self)

    def execute_command(self, *words: Any) -> Any:
        return self._trip([words])[0]

    def pipeline(self, *, transaction: bool) -> "_Pipe":
        assert not transaction
        return _Pipe(self)

    def _trip(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        self.tried += 1
        if self.held is not None:
            assert self.held.wait(10)
        error = self.fails.popleft() if self.fails else self.always
        if isinstance(error, redis.ConnectionError):
            raise error
        self.trips.append(len(calls))
        if error is not None:
            return [error, *(self._do(words) for words in calls[1:])]
        return [self._do(words) for words in calls]

    def _do(self, words: tuple[Any, ...]) -> Any:
        match words:
            case ("POSITION", key):
                return self.inboxes.position(key)
            case ("CURSORS", session_key, *keys):
                return self.inboxes.acked(session_key, keys)
        self.done.append(words)
        return 1

    # What adds to a Batch.

    def advance(self, batch: Batch, push_id: str, owner: Owner, steps: Sequence[Step], mark: Mark) -> int:
        """See store.receipts."""
        assert owner is Owner.CLOUD
        return batch.command("ADVANCE", push_id, tuple(steps), mark)  # type: ignore[arg-type]

    def put(self, batch: Batch, session_key: str, cursors: Mapping[str, Place]) -> int:
        """See store.cursors."""
        return batch.command("CURSOR", session_key, dict(cursors))  # type: ignore[arg-type]

    def ask(self, batch: Batch, name: str, keys: Sequence[str] = ()) -> int:
        """See store.inbox and store.cursors."""
        return batch.command("CURSORS", name, *keys) if keys else batch.command("POSITION", name)

    @staticmethod
    def position(answer: Position) -> Position:
        """See store.inbox."""
        return answer

    # What reads.

    def positions(self, keys: Sequence[str]) -> dict[str, Position]:
        """See store.inbox."""
        batch = Batch(self.client)
        for key in keys:
            self.ask(batch, key)
        return dict(zip(keys, batch.run(), strict=True))

    def read(self, *about: Any) -> Any:
        """See store.inbox (a mapping and a limit) and store.cursors (keys and their answer)."""
        after, limit = about
        if not isinstance(after, Mapping):
            return limit
        batch = Batch(self.client)
        batch.command("READ", len(after))
        batch.run()
        self.reads.append(dict(after))
        pages: dict[str, Page] = {key: self.inboxes.read(key, offset, limit) for key, offset in after.items()}
        return pages


class _Pipe:
    def __init__(self, store: ScriptedStore) -> None:
        self._store = store
        self._calls: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self._calls.append(words)

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return self._store._trip(self._calls)
