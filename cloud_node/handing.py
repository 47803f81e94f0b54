"""Hands durable messages to sessions through the transport, and keeps what was handed out lately.

Whoever is handed something may turn out to be too slow and end in that moment; the hub and durable.py then know at
once.  Refuses to know what comes next (following.py does).  The hub's thread only.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from cloud_node import metrics
from cloud_node.acks import Acks
from cloud_node.cursor import place_of
from cloud_node.hub import Hub, Session
from cloud_node.tails import HandedLately, Tails
from cloud_node.wire.recipients import Recipients
from proto.message import KeyOutcome, Message, Outcome, Place
from store.inbox import Kept

if TYPE_CHECKING:
    from cloud_node.following import Following

_SLOW_BYTES = 64 * 1024  # with so much waiting for it a session that catches up is given no more

_FILTERED, _QUEUED, _SLOW = (KeyOutcome(each) for each in (Outcome.FILTERED, Outcome.QUEUED, Outcome.SLOW))


class Sender(Protocol):
    """What is needed of the transport."""

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int: ...  # noqa: D102
    def backlog(self, session: Session) -> int: ...  # noqa: D102


class Handing:
    """See the module."""

    def __init__(self, hub: Hub, sender: Sender, acks: Acks, now_ms: Callable[[], int], tails: Tails) -> None:
        self._hub = hub
        self._sender = sender
        self._acks = acks
        self._now_ms = now_ms
        self._tails = tails
        self._handed = HandedLately()

    def to_live(self, it: "Following", kept: Kept) -> KeyOutcome:
        """Hand a message to all who are up to date."""
        takers = self._hub.takers(it.key, kept.message.op) or Recipients([])
        if it.behind:
            takers = it.behind.without(takers)
        if not takers.connections:
            return _QUEUED if it.behind else _FILTERED
        handed = self._emit(it, takers, kept)
        return KeyOutcome(Outcome.DELIVERED, handed) if handed else _SLOW

    def to_some(self, it: "Following", sessions: Iterable[Session], kept: Kept) -> None:
        """Hand a message to some who catch up."""
        takers = Recipients([each.connection for each in sessions if each.takes(kept.message.op)])
        if takers.connections:
            metrics.HANDED.inc(self._emit(it, takers, kept))

    def tell_gap(self, it: "Following", sessions: Iterable[Session], reason: str, place: Place) -> None:
        """Tell sessions that they missed something."""
        gap = {"key": it.key, "reason": reason, "epoch": place.epoch, "offset": place.offset}
        told = list(sessions)
        for session in told:
            self._acks.skipped(session, it.key, place)
        recipients = Recipients([each.connection for each in told])
        if recipients.connections:
            metrics.GAPS.labels(reason).inc(len(recipients.connections))
            self._sender.emit(recipients, "gap", gap)

    def live(self, it: "Following") -> Iterable[Session]:
        """Give who is up to date."""
        return [each for each in self._hub.holders(it.key) if each not in it.behind]

    def is_slow(self, session: Session) -> bool:
        """Tell whether a session should be given no more now."""
        return self._sender.backlog(session) > _SLOW_BYTES

    def is_over(self, expires_ms: int) -> bool:
        """Tell whether a message's time is over."""
        return bool(expires_ms) and self._now_ms() >= expires_ms

    def keep(self, it: "Following", kept: Kept) -> None:
        """Keep a message for sessions that come back soon."""
        self._tails.keep(it, kept)

    def _emit(self, it: "Following", takers: Recipients, kept: Kept) -> int:
        place = place_of(kept.offset, it.position)
        event = push_event(kept.message, it.key, kept.push_id) | {"offset": place.offset, "epoch": place.epoch}
        handed = self._sender.emit(takers, "push", event, self._acks.new_id((it.key,), kept.push_id, place))
        if handed:
            self._handed.note(it, kept)
            self._acks.handed(it.key, kept.push_id, place, handed)
        return handed


def push_event(message: Message, key: str, push_id: str) -> dict[str, Any]:
    """Give what a session receives; the body was checked when it came in and is copied in, not parsed again."""
    return {"op": message.op, "msg": orjson.Fragment(message.body), "key": key, "push_id": push_id}
