"""What waits for the handler, in order and bounded."""

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Waiting(Generic[Item]):
    """A queue with room for *most* items, as far as those who put wait for room first; every wait has a deadline."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self.closed = False

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add *item*; once closed, it is dropped."""
        with self._changed:
            if not self.closed:
                self._items.append(item)
                self._changed.notify_all()

    def take(self, timeout_s: float) -> Item | None:
        """Give the oldest item; None when none came in time, or once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self.closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def until_room(self, timeout_s: float) -> bool:
        """Wait until there is room for one more; whether that came in time."""
        return self._until_below(self._most, timeout_s)

    def until_half(self, timeout_s: float) -> bool:
        """Wait until half of the room is free; whether that came in time."""
        return self._until_below(self._most // 2 + 1, timeout_s)

    def close(self) -> None:
        """Let all waits end; what waits is dropped."""
        with self._changed:
            self.closed = True
            self._items.clear()
            self._changed.notify_all()

    def _until_below(self, count: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._items) < count or self.closed, timeout_s)
