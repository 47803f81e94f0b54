"""One message to the sessions of its keys, with an outcome for each key.

Runs on the hub's thread.  Refuses to know how bytes reach a socket (wire/transport.py does).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from cloud_node.hub import Hub, Session
from cloud_node.recent import Recent
from proto.message import KeyOutcome, Message, Outcome


class Sender(Protocol):
    """What delivery needs of the transport."""

    def emit(self, sessions: Sequence[Session], event: str, data: object) -> int:
        """Hand one event to the sessions; gives how many took it.  The others were closed: they were too slow."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request to deliver; *push_id* "" and *expires_ms* 0 switch off what needs them."""

    keys: tuple[str, ...]
    message: Message
    push_id: str = ""
    expires_ms: int = 0


class Deliverer:
    """Delivers to the sessions in the hub; *own_keys* are answered by the node itself (its probe)."""

    def __init__(
        self, hub: Hub, sender: Sender, now_ms: Callable[[], int], own_keys: dict[str, Callable[[Message], None]]
    ) -> None:
        self._hub = hub
        self._sender = sender
        self._now_ms = now_ms
        self._own_keys = own_keys
        self._recent = Recent()

    def deliver(self, it: Delivery) -> dict[str, KeyOutcome]:
        """Hand the message to every session that answers to one of the keys, each session once."""
        if it.expires_ms and self._now_ms() >= it.expires_ms:
            return dict.fromkeys(it.keys, KeyOutcome(Outcome.EXPIRED))
        reached: set[Session] = set()
        return {key: self._to_key(it, key, reached) for key in dict.fromkeys(it.keys)}

    def _to_key(self, it: Delivery, key: str, reached: set[Session]) -> KeyOutcome:
        if key in self._own_keys:
            self._own_keys[key](it.message)
            return KeyOutcome(Outcome.DELIVERED)
        holders = self._hub.holders(key)
        if not holders:
            return KeyOutcome(Outcome.NO_SESSION)
        if it.push_id and (it.push_id, key) in self._recent:
            return KeyOutcome(Outcome.DUPLICATE)
        takers = [session for session in holders if session.takes(it.message.op)]
        if not takers:
            return KeyOutcome(Outcome.FILTERED)
        fresh = [session for session in takers if session not in reached]
        handed = self._sender.emit(fresh, "push", _event(it, key)) if fresh else 0
        if fresh and not handed:
            return KeyOutcome(Outcome.SLOW)
        reached.update(fresh)
        if it.push_id:
            self._recent.add(it.push_id, key)
        return KeyOutcome(Outcome.DELIVERED, handed)


def _event(it: Delivery, key: str) -> dict[str, object]:
    # The body was checked when it came in; it is copied into the packet as it is, not parsed and written again.
    return {"op": it.message.op, "msg": orjson.Fragment(it.message.body), "key": key, "push_id": it.push_id}
