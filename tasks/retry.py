"""When to try a push again and when to give up.  Pure.

Delays double from one second: whole seconds, since the broker's native delayed delivery counts in them.  Together
they outlast a node's lease, so that a crashed node's keys have been found elsewhere, or nowhere, before the end.
A push that only looks for further holders, since nodes are still registering, is *patient*: after a restart of the
store that is every push, and each attempt would be one more task beside the new ones.
"""

from dataclasses import dataclass

LONGEST_DELAY_S = 8


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more in *delay_s* seconds."""

    delay_s: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Try no more; *expired* tells a push that ran out of time from one that ran out of attempts."""

    expired: bool


def next_step(
    attempt: int, *, max_attempts: int | None, now_ms: int, expires_ms: int, patient: bool = False
) -> Again | GiveUp:
    """Decide after *attempt* failed attempts (0 for the first that just failed); None: as many as its time allows."""
    if max_attempts is not None and attempt + 1 >= max_attempts:
        return GiveUp(expired=False)
    delay_s = LONGEST_DELAY_S if patient else min(2**attempt, LONGEST_DELAY_S)
    if expires_ms and now_ms + delay_s * 1000 >= expires_ms:
        return GiveUp(expired=True)
    return Again(delay_s)
