"""The pushes that reached a key here lately: how a task that is done twice is delivered once.  Pure, bounded.

A worker that dies between sending and acknowledging, or that hears no answer in time, sends again.  The window is
bounded by count, not time: the oldest entries make room, so memory is bounded whatever arrives.
"""

from collections import OrderedDict


class Recent:
    """Remembers the last *capacity* pairs of push and key."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        # Not a dict: that would look through all that have left for the oldest that has not.
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._pairs

    def add(self, push_id: str, key: str) -> None:
        """Remember that the push has reached the key."""
        self._pairs[push_id, key] = None
        if len(self._pairs) > self._capacity:
            self._pairs.popitem(last=False)
