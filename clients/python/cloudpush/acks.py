"""When acknowledgements are due: a while after the first that waits, or when many do."""

import threading
from collections.abc import Callable

WITHIN_S = 0.05
MOST = 64


class AckBatch:
    """Counts what waits to be acknowledged; *wake* is called when somebody has to look.  Thread-safe."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._count = 0
        self._since = 0.0

    def note(self, now: float) -> None:
        """Count one more at *now*, in seconds of a monotonic clock."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._since = now
            count = self._count
        if count in (1, MOST):
            self._wake()

    def wait_s(self, now: float) -> float | None:
        """Say in how many seconds they are due; 0 is now, None that nothing waits."""
        with self._lock:
            if self._count == 0:
                return None
            return 0.0 if self._count >= MOST else max(0.0, self._since + WITHIN_S - now)

    def sent(self) -> None:
        """Start counting anew: all that was noted is on its way."""
        with self._lock:
            self._count = 0
