"""A thread that keeps asking whether the store is up, so that accepting a push costs no round trip to know it.

What it asks for is the time (StoreClock.ask), so that the process also knows that without a round trip.

Refuses to repair anything.
"""

import threading
from collections.abc import Callable

import structlog

from proto.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class StoreWatch:
    """Knows whether *ask* succeeded last; it is asked every *every_s* seconds and must have a deadline of its own."""

    def __init__(self, ask: Callable[[], None], every_s: float) -> None:
        self._ask = ask
        self._every_s = every_s
        self._up = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask; until the first answer the store counts as down."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    def is_up(self) -> bool:
        """Tell what the last answer was."""
        return self._up

    def look(self) -> None:
        """Ask once."""
        try:
            self._ask()
        except StoreUnavailable as error:
            if self._up:
                log.warning("store_down", reason=str(error))
            self._up = False
        else:
            if not self._up:
                log.info("store_up")
            self._up = True

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._every_s)
