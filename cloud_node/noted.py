"""What the hub noted about its keys, and how much of it the store does not know yet.  No I/O.

The hub's thread notes, presence's thread takes.  What is kept is *state*, the latest count of each key that
changed, so a burst of joins and leaves of one key is one write, and a store that is away costs memory for keys, not for
changes.

Interleavings:

1. *A key changes while its older count is being written.*  `take` gave out a snapshot; the newer count is dirty again
   and goes with the next one, after it: one thread writes, so the store sees them in order.
2. *A session asks to be told when it is known, while a batch is under way.*  The request is answered only after a
   `take` that came later, which holds all that was noted before the request; so "known" never comes too early.  Who
   gave up waiting takes the request back, so a store that is away does not gather them.
3. *The write fails half-way.*  `put_back` makes the keys dirty again; the next `take` gives their newest counts.
"""

import threading
import time
from collections.abc import Callable, Iterable


class Noted:
    """Counts by key, which are dirty, and who waits for that to end.  Thread-safe; only `wait` blocks."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._counts: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._waiters: dict[object, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def note(self, key: str, count: int) -> None:
        """Take down that *count* sessions answer to *key* now."""
        with self.changed:
            if count > 0:
                self._counts[key] = count
            else:
                self._counts.pop(key, None)
            self._dirty.add(key)
            self.changed.notify()

    def when_known(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have *tell* called by `tell`; gives a function to call when nobody wants to be told any more."""
        ticket = object()
        with self.changed:
            self._waiters[ticket] = tell
            self.changed.notify()

        def forget() -> None:
            with self.changed:
                self._waiters.pop(ticket, None)

        return forget

    def take(self) -> dict[str, int]:
        """Give the dirty keys with their counts (0: nobody), as from now clean."""
        with self.changed:
            dirty, self._dirty = self._dirty, set()
            return {key: self._counts.get(key, 0) for key in dirty}

    def put_back(self, keys: Iterable[str]) -> None:
        """Make *keys* dirty again: they were not written."""
        with self.changed:
            self._dirty.update(keys)

    def all_again(self) -> None:
        """Make every key that is held dirty; those that are dirty already stay so, held or not."""
        with self.changed:
            self._dirty |= self._counts.keys()

    def forget_gone(self, at_most: int) -> bool:
        """Forget what is dirty if more than *at_most* of it are keys that nobody holds; tells whether it was."""
        with self.changed:
            if len(self._dirty) <= len(self._counts) + at_most:
                return False
            self._dirty.clear()
            return True

    def tickets(self) -> list[object]:
        """Name those who wait now."""
        with self.changed:
            return list(self._waiters)

    def tell(self, tickets: Iterable[object]) -> None:
        """Tell those of *tickets* who still wait."""
        for ticket in tickets:
            with self.changed:
                tell = self._waiters.pop(ticket, None)
            if tell is not None:
                tell()

    def wait(self, due: Callable[[], float], stop: threading.Event) -> None:
        """Return when there is something to write or tell, at the time *due* (monotonic, asked again), or on *stop*."""
        with self.changed:
            while not (self._dirty or self._waiters or stop.is_set()):
                wait_s = due() - time.monotonic()
                if wait_s <= 0:
                    return
                self.changed.wait(wait_s)
