"""Whatever happens in whatever order, each session gets what its keys' inboxes hold: in order, once, or it is told.

Two nodes on one store; what is real, and what is judged when, is said in tests/fakes/durable_node.py and
durable_client.py.  ``DURABLE_EXAMPLES=20000`` in the environment makes a long run of it.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_node import following, handing
from proto.message import Place
from tests.fakes.checked_ledger import CheckedLedger
from tests.fakes.durable_client import NOTHING, Client
from tests.fakes.durable_node import DurableNode
from tests.fakes.inbox_store import InboxStore

_EXAMPLES = int(os.environ.get("DURABLE_EXAMPLES", "600"))
_ROOM = "room:r"

who = st.integers(0, 5)
which = st.integers(0, 1)
seldom = st.sampled_from([True, False, False, False])
keys = st.sampled_from(["alice", "alice", _ROOM, _ROOM, "all"])
ttls = st.sampled_from([5_000, 60_000, 60_000])
sizes = st.sampled_from([0, 0, 0, 90])


class DurableMachine(RuleBasedStateMachine):
    store: InboxStore

    @initialize(most=st.sampled_from([5, 8, 1000]), tail=st.sampled_from([0, 600, 1800]), before=st.integers(0, 9))
    def begins(self, most: int, tail: int, before: int) -> None:
        self.store = InboxStore(most)
        self.noted = CheckedLedger(self.store)
        self.nodes = [DurableNode(self.store, self.noted, tail_bytes=tail) for _ in range(2)]
        self.clients = [
            Client(self.store, "alice", None, keeps=True),
            Client(self.store, "alice", frozenset({1}), keeps=True),
            Client(self.store, "bob", None, keeps=True),
            Client(self.store, "alice", None, keeps=False),
            Client(self.store, "bob", frozenset({1}), keeps=False),
            Client(self.store, "carol", None, keeps=False),
        ]
        self.sids = 0
        self.unopened: list[Client] = []
        self.joining: list[tuple[Client, Place | None, int]] = []
        for number in range(before):
            self.store.append(("alice", _ROOM, "all")[number % 3], 1 + number % 2, b"0", 60_000)
        for number, client in enumerate(self.clients[: 2 * before]):
            self.connects(number, which=number % 2, in_room=True, made_up=False, opens=client.keeps)

    def living(self) -> list[Client]:
        return [client for client in self.clients if client.lives]

    def one(self, number: int) -> Client:
        living = self.living()
        return living[number % len(living)]

    # The store.

    @rule(key=keys, op=st.integers(1, 2), size=sizes, ttl=ttls, times=st.integers(1, 3), sent=st.booleans())
    def is_accepted(self, key: str, op: int, size: int, ttl: int, times: int, sent: bool) -> None:
        for _ in range(times):
            body = b'{"n":%d,"x":"%s"}' % (len(self.store.appended), b"x" * size)
            it = self.store.append(key, op, body, ttl)
            if sent:
                for node in self.nodes:
                    node.hint(it)

    @precondition(lambda self: self.store.appended)
    @rule(back=st.integers(0, 7), which=which)
    def a_hint_comes(self, back: int, which: int) -> None:
        self.nodes[which].hint(self.store.appended[-1 - back % len(self.store.appended)])

    @precondition(lambda self: self.store.appended)
    @rule(back=st.integers(0, 5), does=seldom)
    def is_taken_back(self, back: int, does: bool) -> None:
        if does:
            self.store.remove(self.store.appended[-1 - back % len(self.store.appended)].kept.push_id)

    @rule(does=seldom, losing=st.sampled_from([0, 0, 1, 3]))
    def restarts(self, does: bool, losing: int) -> None:
        if does:
            self.store.restart(losing)

    @rule(does=st.sampled_from([True] + [False] * 9))
    def is_emptied(self, does: bool) -> None:
        if does:
            self.store.wipe()

    @rule(ms=st.sampled_from([1_000, 6_000]))
    def time_passes(self, ms: int) -> None:
        self.store.now_ms += ms

    # The node.

    @rule(which=which, number=st.integers(0, 3))
    def the_store_is_read(self, which: int, number: int) -> None:
        self.nodes[which].reader.reads_one(number)

    @rule(which=which)
    def the_hub_takes_an_answer(self, which: int) -> None:
        self.nodes[which].reader.gives_one()

    @rule(which=which, times=st.integers(1, 6))
    def reads_and_takes(self, which: int, times: int) -> None:
        for _ in range(times):
            self.nodes[which].reader.reads_one(0)
            self.nodes[which].reader.gives_one()

    @rule(which=which)
    def what_was_deferred_runs(self, which: int) -> None:
        self.nodes[which].runs_deferred()

    @rule(which=which, does=seldom)
    def checks_all(self, which: int, does: bool) -> None:
        if does:
            self.nodes[which].durable.check_all()

    # Sessions.

    @rule(number=who, which=which, in_room=st.booleans(), made_up=seldom, opens=st.booleans())
    def connects(self, number: int, which: int, in_room: bool, made_up: bool, opens: bool) -> None:
        client = self.clients[number]
        self.forget(client)
        self.sids += 1
        client.connects(self.nodes[which], f"s{self.sids}", ("r",) if in_room else (), made_up=made_up)
        if opens:
            client.opens()
        else:
            self.unopened.append(client)

    @precondition(lambda self: self.unopened)
    @rule()
    def the_directory_knows(self) -> None:
        self.unopened.pop(0).opens()

    @precondition(lambda self: self.living())
    @rule(number=who, back=st.none() | st.integers(0, 6), history=st.sampled_from([0, 0, 1, 4]), opens=st.booleans())
    def joins(self, number: int, back: int | None, history: int, opens: bool) -> None:
        client = self.one(number)
        assert client.session is not None
        assert client.node is not None
        if _ROOM in client.session.keys or client in self.unopened:
            return
        mine = [each.place for each in self.store.appended if each.key == _ROOM]
        after = None if back is None else (mine[-1 - back] if back < len(mine) else NOTHING)
        client.node.joins(client.session, _ROOM)
        if opens:
            client.joins(_ROOM, after, history)
        else:
            self.joining.append((client, after, history))

    @precondition(lambda self: self.joining)
    @rule()
    def the_directory_knows_the_room(self) -> None:
        client, after, history = self.joining.pop(0)
        client.joins(_ROOM, after, history)

    @precondition(lambda self: self.living())
    @rule(number=who)
    def leaves(self, number: int) -> None:
        client = self.one(number)
        assert client.session is not None
        if _ROOM in client.session.keys:
            self.joining = [each for each in self.joining if each[0] is not client]
            client.leaves(_ROOM)

    @precondition(lambda self: self.living())
    @rule(number=who, does=seldom, at_once=st.booleans())
    def goes(self, number: int, does: bool, at_once: bool) -> None:
        client = self.one(number)
        if does and client.session is not None:
            if at_once:
                self.forget(client)
                client.goes()
            else:
                client.session.connection.dies = True

    @precondition(lambda self: self.living())
    @rule(number=who, slow=st.booleans())
    def is_slow(self, number: int, slow: bool) -> None:
        connection = self.one(number).session.connection  # type: ignore[union-attr]
        connection.slow, connection.backlog = slow, 0

    @precondition(lambda self: self.living())
    @rule(number=who, count=st.sampled_from([1, 3, 50]))
    def reads(self, number: int, count: int) -> None:
        self.one(number).reads(count)

    @precondition(lambda self: self.living())
    @rule(number=who, back=st.integers(0, 3), answers=st.booleans())
    def acks(self, number: int, back: int, answers: bool) -> None:
        client = self.one(number)
        assert client.session is not None
        assert client.node is not None
        self.noted.by = client
        try:
            if answers and back < len(client.answers):
                ack_id, self.noted.answered, _ = client.answers[-1 - back]
                client.node.acks.answered(client.session, ack_id)
            elif not answers:
                offsets = {key: client.cursors[key].offset for key in client.session.keys if key in client.cursors}
                client.node.acks.take(client.session, offsets)
        finally:
            self.noted.by = self.noted.answered = None

    def forget(self, client: Client) -> None:
        self.unopened = [each for each in self.unopened if each is not client]
        self.joining = [each for each in self.joining if each[0] is not client]

    # What holds at any moment.

    @invariant()
    def what_was_written_is_right(self) -> None:
        if hasattr(self, "store"):
            for client in self.clients:
                client.judges()
                if not client.lives:
                    self.forget(client)

    @invariant()
    def one_page_of_a_key_is_under_way(self) -> None:
        for node in self.nodes if hasattr(self, "store") else ():
            for key, it in node.durable._followings.items():
                assert it.reading == (node.reader.under_way(key) > 0) or not it.reading
                assert bool(node.hub.holders(key)), "nobody answers to it"

    # What holds in the end.

    @rule(does=seldom)
    def all_settles(self, does: bool) -> None:
        if does:
            self.settle()

    def settle(self) -> None:
        for client in list(self.unopened):
            client.opens()
        for client, after, history in self.joining:
            client.joins(_ROOM, after, history)
        self.unopened, self.joining = [], []
        for node in self.nodes:
            node.settles()
            node.durable.check_all()
            node.settles()
        self.what_was_written_is_right()
        for client in self.living():
            client.reads(1_000_000)
            client.check()
            for it in client.subscriptions.values():
                it.check()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.settle()
            for client in self.clients:
                client.goes()
            for node in self.nodes:
                node.settles()
                assert not len(node.hub)
                assert not node.durable._followings


@pytest.fixture(autouse=True, scope="module")
def small_bounds() -> Iterator[None]:
    """With the real ones nothing would be beyond any of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "PAGE_BYTES", 120)
        patch.setattr(following, "_PAGE_MESSAGES", 4)
        patch.setattr(following, "_ASIDE", 3)
        patch.setattr(handing, "_SLOW_BYTES", 200)
        yield


DurableMachine.TestCase.settings = settings(
    max_examples=_EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDurable = pytest.mark.usefixtures("small_bounds")(DurableMachine.TestCase)
