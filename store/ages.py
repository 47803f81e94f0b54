"""How long pushes had waited that workers took from the queues lately.

A note is the least age among the pushes of one priority that one worker took within a second: queues are first in,
first out, so the least says how old the head was, and one old task that came again says nothing.  The last writer wins.

Guarantee: an aid, not a record.  It may be missing after a restart of the store, or be from an hour ago; each note says
when, by Redis' clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from proto.queues import Priority
from store.batch import Batch
from store.clock import StoreClock
from store.settings import StoreSettings

_KEEP_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken had waited *age_s*; that was *ago_s* ago."""

    age_s: float
    ago_s: float


class Ages:
    """The notes; thread-safe, as the client is."""

    def __init__(self, client: redis.Redis, settings: StoreSettings, clock: StoreClock) -> None:
        self._client = client
        self._clock = clock
        self._name = f"{settings.store_namespace}:ages"

    def note(self, ages_ms: Mapping[Priority, int]) -> None:
        """Write what was taken just now, one round trip; raises StoreUnavailable."""
        now_ms = self._clock.now_ms()
        batch = Batch(self._client)
        for priority, age_ms in ages_ms.items():
            batch.command("HSET", self._name, priority.value, f"{age_ms} {now_ms}")
        batch.command("PEXPIRE", self._name, _KEEP_MS)
        batch.run()

    def read(self) -> dict[Priority, Taken]:
        """Give the last note of each priority that has one, one round trip; raises StoreUnavailable."""
        batch = Batch(self._client)
        batch.command("HMGET", self._name, *(priority.value for priority in Priority))
        (answers,) = batch.run()
        now_ms = self._clock.now_ms()
        notes = zip(Priority, answers, strict=True)
        return {priority: taken for priority, note in notes if (taken := _taken(note, now_ms)) is not None}


def _taken(note: Any, now_ms: int) -> Taken | None:
    age_ms, _, at_ms = str(note or "").partition(" ")
    if not (age_ms.isdecimal() and at_ms.isdecimal()):
        return None
    return Taken(int(age_ms) / 1000, max(0, now_ms - int(at_ms)) / 1000)
