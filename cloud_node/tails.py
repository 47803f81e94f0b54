"""What was handed out lately of durable messages, of all keys, within bounds: the oldest makes room.

:class:`Tails` keeps messages for sessions that come back soon, :class:`HandedLately` the ids of their pushes, for acks.
Refuse to know who gets them.
"""

from collections import deque
from typing import Protocol

from cloud_node.acks import Handed
from store.inbox import Kept

_EACH = 256  # bytes that keeping a message costs, beside its body
_MOST_OF_A_KEY = 1_000  # as an inbox; whoever comes back looks through them
_MOST_IDS = 100_000


class Tailed(Protocol):
    """A key's tail: everything after *tail_from*, in order."""

    tail: deque[Kept] | None
    tail_from: int
    ids: dict[int, Handed] | None


class Tails:
    """See the module.  *most* bytes in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._kept: deque[tuple[Tailed, Kept]] = deque()

    def keep(self, it: Tailed, kept: Kept) -> None:
        """Add the newest message of a key."""
        if it.tail is None:
            it.tail = deque()
        it.tail.append(kept)
        if len(it.tail) > _MOST_OF_A_KEY:
            it.tail_from = it.tail.popleft().offset
        self._kept.append((it, kept))
        self._size += len(kept.message.body) + _EACH
        while self._size > self._most:
            old, oldest = self._kept.popleft()
            self._size -= len(oldest.message.body) + _EACH
            if old.tail and old.tail[0] is oldest:  # else that tail was given up before
                old.tail_from = old.tail.popleft().offset


class HandedLately:
    """See the module.  *most* ids in all."""

    def __init__(self) -> None:
        self.most = _MOST_IDS
        self._kept: deque[tuple[dict[int, Handed], int]] = deque()

    def note(self, it: Tailed, kept: Kept) -> None:
        """Take down that a message was handed to somebody."""
        if it.ids is None:
            it.ids = {}
        elif kept.offset in it.ids:
            return
        it.ids[kept.offset] = Handed(kept.push_id, kept.message.op)
        self._kept.append((it.ids, kept.offset))
        if len(self._kept) > self.most:
            ids, offset = self._kept.popleft()
            del ids[offset]
