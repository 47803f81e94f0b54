"""Who connects to a node for durable messages, and what each is owed.

A :class:`Subscription` is one connection's answering to one key: it judges whatever is written to it.  A
:class:`Client` comes back with the cursors that the rule for clients gives it (docs: the SDK rule), and judges what it
has handled over all its connections.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_node.hub import Session
from cloud_node.identity import Identity
from proto.message import Place
from tests.fakes.durable_node import DurableNode
from tests.fakes.inbox_store import Appended, InboxStore

NOTHING = Place("", 0)


def order(store: InboxStore, place: Place) -> tuple[int, int]:
    """Give something by which places can be compared: epochs in the order in which they began."""
    return (store.epochs.index(place.epoch) if place.epoch else -1), place.offset


@dataclass
class Subscription:
    """One connection's answering to one key.  *at*: the place that it knows last; *owed_after*: what it was told."""

    store: InboxStore
    key: str
    accepts: frozenset[int] | None
    cursor: Place | None  # that it came with
    noted: Mapping[str, Place]  # cursors that the store had
    history: int = 0
    is_open: bool = False
    at: Place = NOTHING
    owed_after: Place = NOTHING
    last: Place | None = None
    got: set[str] = field(default_factory=set)

    def opened(self, recovered: Mapping[str, bool], begins: Mapping[str, Place]) -> None:
        """Take what it is told when it begins."""
        assert not self.is_open
        self.is_open = True
        cursor = self.cursor or (None if self.history else self.noted.get(self.key))
        assert self.key in begins, f"nobody says where {self.key} begins"
        assert (self.key in recovered) == (cursor is not None), (recovered, cursor)
        self.at = self.owed_after = begins[self.key]
        if cursor is not None and recovered[self.key]:
            self.owed_after = cursor
        elif cursor is not None:
            self._check_loss(cursor, "not recovered")

    def takes(self, event: str, data: Mapping[str, Any]) -> None:
        """Take a push or a gap."""
        assert self.is_open, "it was handed something before it was told where it begins"
        place = Place(data["epoch"], data["offset"])
        if event == "gap":
            self._check_loss(self.at, data["reason"])
            self.at = self.owed_after = place
            return
        it = self.store.by_push[data["push_id"]]
        assert (it.key, it.place, it.kept.message.op) == (self.key, place, data["op"])
        assert self.accepts is None or data["op"] in self.accepts
        assert it.kept.expires_ms > self.store.now_ms, "it was over"
        assert it.kept.push_id not in self.got, f"{place} twice"
        assert order(self.store, place) > order(self.store, self.at), f"{place} after {self.at}"
        assert self.last is None or order(self.store, place) > order(self.store, self.last), (
            f"{place} after {self.last}"
        )
        self.at = self.last = place
        self.got.add(it.kept.push_id)

    def _check_loss(self, since: Place, reason: str) -> None:
        """Whoever is told of a loss, has lost something."""
        mine = [each for each in self.store.lost | self.store.wiped if each.key == self.key]
        trimmed = [each for each in self.store.trimmed if each.key == self.key and each.kept.push_id not in self.got]
        if reason != "trimmed" and mine:
            return
        assert reason != "epoch", "no message was lost"
        assert any(order(self.store, each.place) > order(self.store, since) for each in trimmed), "none was trimmed"

    def check(self) -> None:
        """When all has settled: whatever it is owed it has, and its epoch is one of those that the store knows."""
        assert self.is_open, f"nobody says where {self.key} begins"
        missed = [
            each.place
            for each in owed(self.store, self.key, self.accepts, self.owed_after)
            if each.kept.push_id not in self.got
        ]
        assert not missed, f"{self.key}: after {self.owed_after} not {missed}"
        chain = self.store.position(self.key).chain
        assert self.at.epoch in {"", *(link.epoch for link in chain)}, f"nobody told that {self.at.epoch} is gone"


def owed(store: InboxStore, key: str, accepts: frozenset[int] | None, after: Place) -> Iterator[Appended]:
    """List what was accepted after *after* and neither expired, nor was taken back, nor was lost by the store.

    What was trimmed counts: whoever lacks it has to be told, and is owed nothing before the place that he was told.
    """
    for each in store.appended:
        if each.key == key and order(store, each.place) > order(store, after):
            over = each.kept.expires_ms <= store.now_ms or each.kept.push_id in store.removed
            gone = each in store.lost or each in store.wiped
            if not over and not gone and (accepts is None or each.kept.message.op in accepts):
                yield each


@dataclass
class Client:
    """A client with a name; *keeps*: it keeps cursors and comes back with them, else it relies on its acks."""

    store: InboxStore
    key: str
    accepts: frozenset[int] | None
    keeps: bool
    node: DurableNode | None = None
    session: Session | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    read: int = 0  # events it has handled
    judged: int = 0
    cursors: dict[str, Place] = field(default_factory=dict)
    owed_after: dict[str, Place] = field(default_factory=dict)
    handled: dict[str, list[tuple[Place, str]]] = field(default_factory=dict)
    answers: list[tuple[int, Place | None, str]] = field(default_factory=list)

    @property
    def lives(self) -> bool:
        return self.session is not None and not self.session.connection.closed

    def connects(self, node: DurableNode, sid: str, rooms: tuple[str, ...], *, made_up: bool = False) -> None:
        """Connect anew, with the cursors that it has."""
        self.goes()
        key = f"anon-{sid}" if made_up else self.key
        resume = dict(self.cursors) if self.keeps else {}
        identity = Identity(key, None, rooms, self.accepts, made_up=made_up, resume=resume)
        self.node, self.session = node, node.connect(sid, identity)
        self.read = self.judged = 0
        self.answers = []
        noted = self.session.connection.noted
        self.subscriptions = {
            each: Subscription(self.store, each, self.accepts, resume.get(each), noted) for each in identity.keys
        }

    def opens(self) -> None:
        """The directory knows its keys."""
        assert self.node is not None
        assert self.session is not None
        mine = dict(self.subscriptions)

        def opened(recovered: Mapping[str, bool], begins: Mapping[str, Place]) -> None:
            for key, it in mine.items():
                if self.lives and self.subscriptions.get(key) is it:
                    it.opened(recovered, begins)
                    self._told(key, recovered.get(key), begins[key])

        self.node.durable.open(self.session, self.session.identity.resume, opened)

    def joins(self, key: str, after: Place | None, history: int) -> None:
        """Join a room, once the directory knows."""
        assert self.node is not None
        assert self.session is not None
        self._forgets(key)
        it = self.subscriptions[key] = Subscription(
            self.store, key, self.accepts, after, self.session.connection.noted, history
        )

        def opened(recovered: Mapping[str, bool], begins: Mapping[str, Place]) -> None:
            if self.lives and self.subscriptions.get(key) is it:
                it.opened(recovered, begins)
                self._told(key, recovered.get(key), begins[key])

        cursors = {} if after is None else {key: after}
        self.node.durable.open(self.session, cursors, opened, only=(key,), history=history)

    def leaves(self, key: str) -> None:
        """Leave a room; what was not handled of it is nobody's loss."""
        assert self.node is not None
        assert self.session is not None
        self.reads(len(self.session.connection.events))
        self.node.leaves(self.session, key)
        self.subscriptions.pop(key, None)
        self._forgets(key)

    def _forgets(self, key: str) -> None:
        for known in (self.cursors, self.owed_after, self.handled):
            known.pop(key, None)

    def goes(self) -> None:
        """End the connection, if there is one; what it has not read is lost to it."""
        if self.lives and self.session is not None and self.node is not None:
            self.node.goes(self.session.connection)
        self.session = None
        self.subscriptions = {}

    def _told(self, key: str, recovered: bool | None, place: Place) -> None:
        if key not in self.owed_after or recovered is False:
            self.owed_after[key] = place
        self.cursors.setdefault(key, place)

    # What comes.

    def judges(self) -> None:
        """Look at what was written to its connection since the last time."""
        if self.session is not None:
            events = self.session.connection.events
            while self.judged < len(events):
                event, data, _ = events[self.judged]
                self.judged += 1
                if data["key"] in self.subscriptions:
                    self.subscriptions[data["key"]].takes(event, data)
                else:
                    raise AssertionError(f"{event} of {data['key']}, which it does not answer to")

    def reads(self, count: int) -> None:
        """Handle some of what has come, by the rule for clients."""
        if self.session is None:
            return
        events = self.session.connection.events[self.read : self.read + count]
        self.read += len(events)
        for event, data, ack_id in events:
            key, place = data["key"], Place(data["epoch"], data["offset"])
            if key not in self.subscriptions:
                continue
            if event == "gap":
                self.owed_after[key] = place
                continue
            if ack_id is not None:
                self.answers.append((ack_id, place, key))
            known = self.cursors.get(key, NOTHING)
            handled = self.handled.setdefault(key, [])
            if known.epoch == place.epoch and place.offset <= known.offset:
                continue
            self.cursors[key] = place
            if data["push_id"] not in {push_id for _, push_id in handled}:
                handled.append((place, data["push_id"]))

    def check(self) -> None:
        """When all has settled and it has read all: it has handled what it is owed, once, in order."""
        for key in self.subscriptions:
            handled = self.handled.get(key, [])
            by_epoch: dict[str, list[int]] = {}
            for place, _ in handled:
                by_epoch.setdefault(place.epoch, []).append(place.offset)
            assert all(offsets == sorted(set(offsets)) for offsets in by_epoch.values()), handled
            have = {push_id for _, push_id in handled}
            after = self.owed_after[key]
            missed = [each for each in owed(self.store, key, self.accepts, after) if each.kept.push_id not in have]
            assert not missed or not self.keeps, f"{key}: after {after} not {missed}"
