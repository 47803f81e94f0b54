"""A push's fate, step by step: what to print of a receipt, and how it ended.  Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from cloudpush.results import KeyReceipt, Milestone, Receipt

DELIVERED, UNDELIVERED, UNDER_WAY = 0, 3, 4


class Step(NamedTuple):
    """One thing that happened to a push; *key* is "" when it is the whole push's."""

    at: datetime
    key: str
    what: str
    more: str = ""

    @property
    def name(self) -> tuple[str, str]:
        """What makes it one step: it is told once, though its details may still grow."""
        return self.key, self.what


def steps(receipt: Receipt) -> list[Step]:
    """List what has happened, oldest first.

    The times are those of several processes, whose clocks may be some ms apart: for each key the order of its steps is
    what counts, and a time that is before that of the step before is shown as it is.
    """
    accepted = Step(receipt.accepted_at, "", "accepted")
    found = [(accepted.at, accepted)]
    for key, one in receipt.keys.items():
        latest = accepted.at
        for step in _steps_of(key, one):
            latest = max(latest, step.at)
            found.append((latest, step))
    return [step for _, step in sorted(found, key=lambda pair: pair[0])]


def new_steps(receipt: Receipt, told: Iterable[Step]) -> list[Step]:
    """List the steps that are not among those *told*."""
    names = {step.name for step in told}
    return [step for step in steps(receipt) if step.name not in names]


def step_line(step: Step, since: datetime) -> str:
    """Show one step: when, how long after *since*, and what."""
    after_ms = (step.at - since).total_seconds() * 1000
    clock = step.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    return f"{clock}  {after_ms:+9.0f} ms  {step.what:<10}  {step.key}{step.more}".rstrip()


def next_milestone(receipt: Receipt) -> Milestone:
    """Say what is worth waiting for."""
    milestones: tuple[Milestone, ...] = ("dispatched", "emitted", "acked")
    return next((one for one in milestones if not receipt.reached(one)), "acked")


def exit_code(receipt: Receipt) -> int:
    """Say how it ended, for a shell."""
    if not receipt.ended:
        return UNDER_WAY
    return DELIVERED if receipt.delivered else UNDELIVERED


def _steps_of(key: str, one: KeyReceipt) -> Iterator[Step]:
    if one.dispatched_at is not None:
        yield Step(one.dispatched_at, key, "dispatched")
    if one.emitted_at is not None:
        place = "" if one.offset is None else f"  offset={one.offset} epoch={one.epoch}"
        yield Step(one.emitted_at, key, "emitted", f"  sessions={one.sessions}{place}")
    if one.acked_at is not None:
        yield Step(one.acked_at, key, "acked", f"  acks={one.acks}")
    if one.ended_at is not None:
        yield Step(one.ended_at, key, one.state, f"  ({one.reason})" if one.reason else "")
