"""cloudpush.cursors against a model of a node: whatever is cut, sent twice, trimmed, lost by the store or restarted,
each message is handled once and in order, and what was trimmed before it was handled is told as a gap.

Where a session begins is decided by the node's own code, cloud_node/cursor.py.
"""

from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_node.cursor import fresh, place_of, resume
from cloudpush.cursors import Cursors, Found, Place, State, Verdict
from proto.message import Place as NodePlace
from store.inbox import Position

KEYS = ("alice", "mid:4")
keys = st.sampled_from(KEYS)


class Inbox:
    """A key's inbox as the store has it, and how far it was sent on the connection."""

    def __init__(self) -> None:
        self.position = Position()
        self.log: list[tuple[Place, str]] = []
        self.sent = 0
        self.begins_epoch = True

    def append(self, epoch: str, push_id: str) -> None:
        chain, offset = self.position.chain, self.position.last + 1
        if self.begins_epoch:
            chain, self.begins_epoch = (*chain, NodePlace(epoch, offset)), False
        self.position = Position(chain, offset, self.position.trimmed)
        self.log.append((Place(chain[-1].epoch, offset), push_id))

    def place(self, offset: int) -> Place:
        return Place(*place_of(offset, self.position))


class Listening(RuleBasedStateMachine):
    """A node with inboxes, a wire that may be cut, a queue, a handler, and a process that may be killed."""

    @initialize()
    def begin(self) -> None:
        self.cursors, self.saved = Cursors(), State()
        self.inboxes = {key: Inbox() for key in KEYS}
        self.epochs = self.pushes = 0
        self.queue: deque[Any] = deque()
        self.handled: list[str] = []
        self.in_hand: set[str] = set()  # handled when the process was killed, before the cursor was kept
        self.top: dict[tuple[str, str], int] = {}
        self.newest: dict[str, str] = {}
        self.owed: dict[str, set[str]] = {key: set() for key in KEYS}  # trimmed after the session had a cursor
        self.told: set[str] = set()
        self.up = False

    @rule(key=keys)
    def push(self, key: str) -> None:
        self.pushes += 1
        self.append(key)

    @rule()
    def push_to_both(self) -> None:
        self.pushes += 1
        for key in KEYS:
            self.append(key)

    def append(self, key: str) -> None:
        self.epochs += self.inboxes[key].begins_epoch
        self.inboxes[key].append(f"e{self.epochs:04d}", f"p{self.pushes}")

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        """The node takes our cursors, and takes them for acks."""
        self.up = True
        self.cursors.arrive_connection()
        resumed = self.cursors.resume()
        for key, inbox in self.inboxes.items():
            cursor = resumed.get(key)
            if cursor is None:
                start = fresh(inbox.position, from_start=True)
            else:
                start = resume(NodePlace(*cursor), inbox.position)
                acked = self.had(key, start.offset) if start.recovered else set()
                assert not acked - set(self.handled), "acked what was not handled"
            inbox.sent = start.offset
            place = inbox.place(start.offset)
            if start.recovered is False:
                self.tell(key, place)
            elif self.cursors.arrive_start(key, place):
                self.queue.append(("start", key, place, ""))

    def had(self, key: str, offset: int) -> set[str]:
        """What a node takes as acked by *offset*."""
        return {push_id for place, push_id in self.inboxes[key].log if place.offset <= offset}

    def tell(self, key: str, place: Place) -> None:
        found = self.cursors.arrive_gap(key, place)
        if found is Found.LOST_AND_MOVED:
            self.queue.append(("start", key, place, ""))
        if found is not Found.NOTHING:
            self.told.add(key)

    @precondition(lambda self: self.up)
    @rule()
    def cut(self) -> None:
        self.up = False
        self.cursors.lose_connection()

    @precondition(lambda self: self.up)
    @rule(key=keys, count=st.integers(1, 3), twice=st.booleans())
    def send(self, key: str, count: int, twice: bool) -> None:
        """The node sends what is next, and tells what it cannot; a node that should not may send it twice."""
        inbox = self.inboxes[key]
        if inbox.sent < inbox.position.trimmed:
            inbox.sent = inbox.position.trimmed
            self.tell(key, inbox.place(inbox.sent))
        for place, push_id in [one for one in inbox.log if one[0].offset > inbox.sent][:count]:
            inbox.sent = place.offset
            for _ in range(2 if twice else 1):
                verdict = self.cursors.arrive(key, place, push_id)
                if verdict is not Verdict.DROP:
                    self.queue.append((verdict, key, place, push_id))

    @precondition(lambda self: self.queue)
    @rule(dies=st.booleans())
    def handle(self, dies: bool) -> None:
        """The handler does one; the process may be killed before its cursor is kept."""
        what, key, place, push_id = self.queue.popleft()
        if what == "start":
            self.cursors.finish_start(key, place)
        elif what is Verdict.HAND:
            self.note(key, place, push_id)
        if dies:
            self.in_hand.add(push_id)
            self.restart()
            return
        if what != "start":
            self.cursors.finish(key, place, push_id)
        self.saved = self.cursors.state()
        self.cursors.kept(self.saved)

    def note(self, key: str, place: Place, push_id: str) -> None:
        """Handled in order: past what was handled of its epoch, and of no epoch that was left."""
        top = self.top.get((key, place.epoch), 0)
        assert place.offset > top or (place.offset == top and push_id in self.in_hand)
        assert place.epoch >= self.newest.get(key, "")
        self.top[key, place.epoch], self.newest[key] = place.offset, place.epoch
        self.handled.append(push_id)

    @rule()
    def restart(self) -> None:
        """The process dies; what was saved is all that it knows."""
        self.cursors = Cursors(self.saved)
        self.queue.clear()
        self.up = False
        for key in KEYS:
            if key not in self.saved.cursors:
                self.owed[key].clear()  # a new session: it begins with what is there

    @rule(key=keys)
    def trim(self, key: str) -> None:
        """The inbox drops its oldest."""
        inbox = self.inboxes[key]
        if inbox.log:
            place, push_id = inbox.log.pop(0)
            inbox.position = Position(inbox.position.chain, inbox.position.last, place.offset)
            if key in self.cursors.resume():
                self.owed[key].add(push_id)

    @precondition(lambda self: not self.up)
    @rule(key=keys, count=st.integers(1, 3), whole=st.booleans())
    def lose(self, key: str, count: int, whole: bool) -> None:
        """The store loses its last writes, or all, and may not know; what it appends next is of another epoch."""
        inbox = self.inboxes[key]
        gone = inbox.log if whole else inbox.log[-count:]
        if whole:
            self.inboxes[key] = Inbox()
            self.owed[key].clear()  # a store that was emptied cannot tell whoever had received nothing yet
            return
        last = inbox.position.last - len(gone)
        chain = tuple(link for link in inbox.position.chain if link.offset <= last)
        inbox.position = Position(chain, last, min(inbox.position.trimmed, last))
        inbox.log = inbox.log[: -count or None] if gone else inbox.log
        inbox.begins_epoch = True

    @precondition(lambda self: self.up)
    @rule(answers=st.booleans())
    def acknowledge(self, answers: bool) -> None:
        offsets = self.cursors.acks()
        for key, offset in offsets.items():
            if offset > self.inboxes[key].sent:
                continue  # the node takes no ack of what it did not send
            assert not self.had(key, offset) - set(self.handled), "acked what was not handled"
        if answers:
            self.cursors.acked(offsets)

    @invariant()
    def each_is_handled_once(self) -> None:
        again = {push_id for push_id in self.handled if self.handled.count(push_id) > 1}
        assert again <= self.in_hand

    def teardown(self) -> None:
        """At the end everything is sent and handled; what was lost without having been handled was told."""
        if not hasattr(self, "cursors"):
            return
        self.cut() if self.up else None
        self.connect()
        for key in KEYS:
            self.send(key, 10_000, False)
        while self.queue:
            self.handle(False)
        there = {push_id for inbox in self.inboxes.values() for _, push_id in inbox.log}
        assert there <= set(self.handled), f"never handled: {there - set(self.handled)}"
        for key in KEYS:
            assert key in self.told or self.owed[key] <= set(self.handled), f"trimmed and not told: {self.owed[key]}"
        self.acknowledge(True)
        self.each_is_handled_once()


Listening.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestListening = Listening.TestCase
