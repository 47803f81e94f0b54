"""How much a link may have unanswered at its node: more while answers come, less when the node says it is busy.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681, section 3.1), in batches: one more for each
window of answers, half when the node is behind.  One window of batches that meet a node that is behind halves it once,
not once for each.  A node that is behind even with one batch is left alone for a moment, longer each time.

Pure: no I/O, no clock.
"""

MOST_BATCHES = 8  # of 100 pushes: some 20 ms of a node's time, which is what an urgent push could wait for at worst
MOST_BYTES = 4 * 1024 * 1024  # what a node reads ahead of a stream
FEW = 2  # so many go at once, whatever they hold; the next one waits until it is full or an answer comes
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


class Window:
    """Says whether one more batch may go.  Not thread-safe: its link's lock guards it."""

    def __init__(self) -> None:
        self.batches = 0  # unanswered
        self.bytes = 0
        self._limit = float(MOST_BATCHES)
        self._halved_at = 0  # number of the last batch that was sent when it was last halved
        self._pause_s = 0.0
        self._paused_until = 0.0

    @property
    def limit(self) -> int:
        """How many batches may be unanswered now."""
        return int(self._limit)

    def room(self, *, full: bool) -> bool:
        """Tell whether a batch may go; *full*: it would have no room for more pushes."""
        if self.bytes >= MOST_BYTES:
            return False
        return self.batches < (self.limit if full else min(FEW, self.limit))

    def paused(self, now: float) -> bool:
        """Tell whether the node is to be left alone."""
        return now < self._paused_until

    def sent(self, size: int) -> None:
        """Count a batch of *size* bytes."""
        self.batches += 1
        self.bytes += size

    def taken(self, size: int) -> None:
        """One was answered: the node keeps up."""
        self._answered(size)
        self._pause_s = 0.0
        self._limit = min(float(MOST_BATCHES), self._limit + 1 / self._limit)

    def refused(self, size: int, number: int, last_number: int, now: float) -> None:
        """One was handed back since the node is behind: batch *number*; *last_number* is the last that was sent."""
        self._answered(size)
        if number <= self._halved_at:
            return  # it was on its way when the window was halved
        self._halved_at = last_number
        if self._limit < FEW:
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
            self._paused_until = now + self._pause_s
        self._limit = max(1.0, self._limit / 2)

    def empty(self) -> None:
        """Forget what is unanswered: its stream is gone.  What was learnt of the node stays."""
        self.batches = self.bytes = 0
        self._halved_at = 0

    def _answered(self, size: int) -> None:
        self.batches -= 1
        self.bytes -= size
