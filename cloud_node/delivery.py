"""One message to the sessions of its keys, with an outcome for each key.

Runs on the hub's thread.  Refuses to know how bytes reach a socket (wire/transport.py does).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from cloud_node.acks import Acks
from cloud_node.durable import Durable
from cloud_node.handing import push_event
from cloud_node.hub import Hub
from cloud_node.recent import Recent
from cloud_node.wire.recipients import Recipient, Recipients
from proto.message import KeyOutcome, Message, Outcome, Place
from store.inbox import Kept

_TO_ITSELF, _TO_ONE = KeyOutcome(Outcome.DELIVERED), KeyOutcome(Outcome.DELIVERED, 1)
_NO_SESSION, _FILTERED = KeyOutcome(Outcome.NO_SESSION), KeyOutcome(Outcome.FILTERED)
_DUPLICATE, _EXPIRED, _SLOW = (KeyOutcome(each) for each in (Outcome.DUPLICATE, Outcome.EXPIRED, Outcome.SLOW))


class Sender(Protocol):
    """What delivery needs of the transport."""

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        """Hand one event to all; gives how many took it.  The others were closed: they were too slow."""


class Paces(Protocol):
    """What delivery needs of the pacing of broadcasts."""

    def begin(self, it: "Delivery", key: str) -> KeyOutcome:
        """Hand the message to the first of the key's sessions, and see to the others."""


class Delivery(NamedTuple):
    """A request to deliver; *push_id* "" and *expires_ms* 0 switch off what needs them.

    *places*, one for each key, are those of a durable push; *recorded*: it has a receipt; *speed*: at most so many
    sessions get it in any second, 0: all at once.
    """

    keys: tuple[str, ...]
    message: Message
    push_id: str = ""
    expires_ms: int = 0
    places: tuple[Place, ...] = ()
    recorded: bool = False
    speed: int = 0


class Deliverer:
    """Delivers to the sessions in the hub; *own_keys* are answered by the node itself (its probe)."""

    def __init__(
        self,
        hub: Hub,
        sender: Sender,
        durable: Durable,
        acks: Acks,
        now_ms: Callable[[], int],
        own_keys: Mapping[str, Callable[[Message], None]],
        pacing: Paces,
    ) -> None:
        self._durable = durable
        self._acks = acks
        self._hub = hub
        self._sender = sender
        self._now_ms = now_ms
        self._own_keys = own_keys
        self._pacing = pacing
        self._recent = Recent()

    def deliver(self, it: Delivery) -> dict[str, KeyOutcome]:
        """Hand the message to every session that answers to one of the keys, each session once."""
        if it.places:
            return {
                key: self._durable.deliver(key, place, Kept(place.offset, it.push_id, it.message, it.expires_ms, 0))
                for key, place in zip(it.keys, it.places, strict=True)
            }
        if it.expires_ms and self._now_ms() >= it.expires_ms:
            return dict.fromkeys(it.keys, _EXPIRED)
        if len(it.keys) == 1:
            return {it.keys[0]: self._to_key(it, it.keys[0], None)}
        reached: set[Recipient] = set()
        return {key: self._to_key(it, key, reached) for key in dict.fromkeys(it.keys)}

    def _to_key(self, it: Delivery, key: str, reached: set[Recipient] | None) -> KeyOutcome:
        """Deliver to one key; *reached* are those that other keys of the same message reached, if it has others."""
        takers = self._hub.takers(key, it.message.op)
        if takers is None:
            if key in self._own_keys:
                self._own_keys[key](it.message)
                return _TO_ITSELF
            return _NO_SESSION
        if it.push_id and (it.push_id, key) in self._recent:
            return _DUPLICATE
        if it.speed or not takers.connections:
            return self._pace(it, key) if takers.connections else _FILTERED
        if reached is None or reached.isdisjoint(takers.connections):
            fresh = takers
        else:
            fresh = Recipients([each for each in takers.connections if each not in reached])
        handed = 0
        if fresh.connections:
            handed = self._emit(it, key, fresh)
            if not handed:
                return _SLOW
        if reached is not None:
            reached.update(fresh.connections)
        self._note(it, key, handed + len(takers) - len(fresh))
        return _TO_ONE if handed == 1 else KeyOutcome(Outcome.DELIVERED, handed)

    def _pace(self, it: Delivery, key: str) -> KeyOutcome:
        outcome = self._pacing.begin(it, key)
        if it.push_id and outcome.outcome in (Outcome.DELIVERED, Outcome.QUEUED):
            self._recent.add(it.push_id, key)
        return outcome

    def _note(self, it: Delivery, key: str, sessions: int) -> None:
        """Remember that so many *sessions* of the key have it, under this key or another: their answers ack both."""
        if it.push_id:
            self._recent.add(it.push_id, key)
        if it.recorded:
            self._acks.handed(key, it.push_id, None, sessions)

    def _emit(self, it: Delivery, key: str, takers: Recipients) -> int:
        event = push_event(it.message, key, it.push_id)
        if not it.recorded:
            return self._sender.emit(takers, "push", event)
        return self._sender.emit(takers, "push", event, self._acks.new_id(it.keys, it.push_id, None))
