"""Tells the logic tier how long pushes wait: what tasks say on their way in, written to the store once a second.

A thread of its own writes, so no task waits for that.  While the store is away nothing is noted, and the logic tier
says that it does not know (app/backlog.py).  Refuses to keep what it could not write: by then it is not so any more.

Races: tasks note at the same time, and the thread takes all away in between.  Each may lose the other's number; every
number there is was true within the same second, and one is enough.
"""

import threading

import structlog

from proto.errors import StoreUnavailable
from proto.queues import Priority
from store.ages import Ages

EVERY_S = 1.0

log = structlog.get_logger()

_least: dict[Priority, int] = {}


def note(priority: Priority, age_ms: int) -> None:
    """Say that a push was taken *age_ms* after it was accepted, or due; the first attempt of it only."""
    known = _least.get(priority)
    if known is None or age_ms < known:
        _least[priority] = max(0, age_ms)


def taken() -> dict[Priority, int]:
    """Give the least age of each priority noted since the last call."""
    found = {}
    for priority in Priority:
        age_ms = _least.pop(priority, None)
        if age_ms is not None:
            found[priority] = age_ms
    return found


class AgeNotes(threading.Thread):
    """Writes what was noted, every *every_s* seconds until :meth:`stop`."""

    def __init__(self, ages: Ages, every_s: float = EVERY_S) -> None:
        super().__init__(name="age-notes", daemon=True)
        self._ages = ages
        self._every_s = every_s
        self._stop_asked = threading.Event()
        self._lost = False

    def run(self) -> None:
        """Write until told to stop, and once more then: for a while there may be nobody else to say it."""
        while not self._stop_asked.wait(self._every_s):
            self.write()
        self.write()

    def write(self) -> None:
        """Write once what there is."""
        if not (least := taken()):
            return
        try:
            self._ages.note(least)
        except StoreUnavailable as error:
            if not self._lost:
                log.warning("ages of queues not noted", reason=str(error))
            self._lost = True
        else:
            self._lost = False

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(timeout_s)
