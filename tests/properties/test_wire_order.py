"""Whatever happens in whatever order, each session gets what was handed to it, in order, each frame whole.

Sockets that are full, pauses in mid-flush, polls, upgrades at any moment, and ends of every kind: see
tests/fakes/wire_world.py for what is real.  ``WIRE_EXAMPLES=20000`` in the environment makes a long run of it.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from cloud_node.wire import connection, fanout, reactor
from cloud_node.wire.reactor import WRITE
from tests.fakes.wire_model import Client
from tests.fakes.wire_world import GROUPS, ROOMY, World

_EXAMPLES = int(os.environ.get("WIRE_EXAMPLES", "800"))
_CLOSE_FRAME = 127  # bytes, at most

who = st.integers(0, 7)
seldom = st.sampled_from([True, False, False, False])
names = st.sampled_from(GROUPS)
sizes = st.sampled_from([0, 1, 50, 110, 118, 119, 120, 200, 900]) | st.just(66_000)
capacities = st.sampled_from([1, 3, 30, 200, 1000, 5000, ROOMY])
limits = st.sampled_from([250, 2500, 200_000])
bites = st.sampled_from([1, 2, 9, 100, 1000, ROOMY])


class WireMachine(RuleBasedStateMachine):
    world: World

    @initialize(limit=limits, kinds=st.lists(st.none() | capacities, min_size=2, max_size=6))
    def begins(self, limit: int, kinds: list[int | None]) -> None:
        self.world = World(limit)
        for number, capacity in enumerate(kinds):
            client = self.world.connects_by_polling() if capacity is None else self.world.connects(capacity)
            for name in GROUPS[: 1 + number % 2]:
                self.world.joins(client, name)

    def client(self, number: int) -> Client:
        clients = list(self.world.clients.values())
        living = [client for client in clients if client.lives]
        return (living or clients)[number % len(living or clients)]

    def upgrading(self) -> list[Client]:
        return [each for each in self.world.clients.values() if each.trial is not None and each.lives]

    def anyone(self, number: int) -> Client:
        return list(self.world.clients.values())[number % len(self.world.clients)]

    # The node's side.

    @rule(name=names, size=sizes, binary=st.booleans(), times=st.integers(1, 3))
    def emits(self, name: str, size: int, binary: bool, times: int) -> None:
        for _ in range(times):
            self.world.emits(name, size, binary=binary)

    @rule(number=who, size=sizes, binary=st.booleans())
    def sends(self, number: int, size: int, binary: bool) -> None:
        self.world.sends(self.anyone(number), size, binary=binary)

    @rule(parts=st.lists(st.tuples(names | who, sizes), max_size=8))
    def emits_a_batch(self, parts: list[tuple[str | int, int]]) -> None:
        self.world.batch(parts)

    @precondition(lambda self: self.world.parked is not None)
    @rule()
    def the_flush_goes_on(self) -> None:
        self.world.goes_on()

    @rule(times=st.integers(1, 4))
    def the_reactor_serves(self, times: int) -> None:
        for _ in range(times):
            self.world.serves()

    @rule()
    def greenlets_run(self) -> None:
        self.world.run()

    @rule(seconds=st.sampled_from([0.5, 3, 12, 26]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @rule(number=who, does=seldom)
    def the_node_drops(self, number: int, does: bool) -> None:
        if does:
            self.world.drops(self.client(number))

    @rule(capacity=st.none() | capacities)
    def connects(self, capacity: int | None) -> None:
        if len(self.world.clients) < 8:
            client = self.world.connects_by_polling() if capacity is None else self.world.connects(capacity)
            self.world.joins(client, "a")

    @rule(number=who, name=names)
    def joins(self, number: int, name: str) -> None:
        self.world.joins(self.client(number), name)

    @rule(number=who, name=names, does=seldom)
    def leaves(self, number: int, name: str, does: bool) -> None:
        if does:
            self.world.leaves(self.client(number), name)

    @rule(number=who, size=bites)
    def reads(self, number: int, size: int) -> None:
        self.anyone(number).read(size)

    @rule(number=who)
    def polls(self, number: int) -> None:
        client = self.anyone(number)
        if client.websocket is None and not client.polls and not client.gone:
            self.world.polls(client)

    @rule(number=who, capacity=capacities)
    def begins_to_upgrade(self, number: int, capacity: int) -> None:
        client = self.client(number)
        if client.websocket is None and client.trial is None:
            self.world.upgrades(client, capacity)

    @precondition(lambda self: self.upgrading())
    @rule(number=who, patient=st.booleans())
    def goes_on_with_its_upgrade(self, number: int, patient: bool) -> None:
        client = self.upgrading()[number % len(self.upgrading())]
        assert client.trial is not None
        client.read(ROOMY)
        if not client.probed:
            client.trial.say("2probe")
            self.world.serves()
        elif not (patient and client.polls):
            self.world.completes(client)

    @precondition(lambda self: self.upgrading())
    @rule(number=who, does=seldom, how=st.sampled_from(["nonsense", "end", "reset", "close"]))
    def abandons_its_upgrade(self, number: int, does: bool, how: str) -> None:
        client = self.upgrading()[number % len(self.upgrading())]
        if does and client.trial is not None:
            client.read(ROOMY)
            trial, client.trial = client.trial, None
            if how == "nonsense":
                trial.say("4too early")
            elif how == "close":
                trial.say_close(1001)
            elif how == "end":
                trial.sock.client_is_done = True
            else:
                trial.sock.broken = True

    @rule(number=who, text=st.sampled_from(["wait", "now"]), times=st.integers(1, 5))
    def says_something(self, number: int, text: str, times: int) -> None:
        client = self.client(number)
        for _ in range(times):
            self.say(client, f"{text} {len(client.said)}")

    def say(self, client: Client, message: str) -> None:
        if client.websocket is not None:
            client.said.append(message)
            client.websocket.say(f"4{message}")
        elif client.trial is None:
            self.world.posts(client, message)

    @rule(number=who)
    def answers_pings(self, number: int) -> None:
        client = self.client(number)
        if client.websocket is not None:
            client.websocket.say("3")

    @rule(number=who)
    def pings_the_websocket(self, number: int) -> None:
        client = self.client(number)
        if client.websocket is not None:
            client.websocket.ping()

    @rule(number=who, does=seldom, how=st.sampled_from(["close", "end", "reset", "nonsense", "says so", "malformed"]))
    def goes(self, number: int, does: bool, how: str) -> None:
        client = self.client(number)
        if not does:
            return
        client.goes()
        if client.websocket is None:
            for sock in client.polls:
                sock.client_is_done = True
            if how == "says so":
                self.world.run()
                self.world.request("POST", client.connection.sid, b"1")
        elif how == "close":
            client.websocket.say_close(1001)
        elif how == "end":
            client.websocket.sock.client_is_done = True
        elif how == "reset":
            client.websocket.sock.broken = True
        elif how == "nonsense":
            client.websocket.sock.said += b"\xff\xff\xff\xff"
        else:
            client.websocket.say("1" if how == "says so" else "9")

    # What holds at any moment.

    @invariant()
    def what_waits_is_counted_and_bounded_and_watched(self) -> None:
        world = self.world
        for websocket in world.websockets:
            outbox = websocket.outbox
            if outbox is None:
                continue
            assert outbox.size == sum(map(len, outbox._chunks)) - outbox._written > 0
            assert outbox.size <= world.engine.limit + max(map(len, outbox._chunks)) + _CLOSE_FRAME
            if websocket not in world.engine.fanout._unwritten:
                assert websocket._events & WRITE, "something waits and nobody will write it"
                assert websocket.ending or outbox.size <= world.engine.limit
        for client in world.clients.values():
            held = client.connection
            if not client.reason:
                assert held.waiting == sum(len(packet) for packet in held.packets if packet[:1] != b"0")
                assert held.waiting <= world.engine.limit

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if self.world.parked is None:
            writer = self.world.engine.fanout
            assert writer._open is None
            assert writer._sweep is None
            assert not writer._unwritten

    # What holds in the end.

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.all_goes_on_until_nothing_moves()
                self.in_the_end_everybody_has_what_it_is_owed()
                self.when_nobody_answers_pings_nothing_is_left()
            finally:
                self.world.close()

    def all_goes_on_until_nothing_moves(self) -> None:
        world = self.world
        for sock in world.sockets:
            sock.capacity = ROOMY
        for _ in range(200):
            before = [client.progress for client in world.clients.values()]
            world.goes_on()
            for client in world.clients.values():
                client.read(ROOMY)
                self.finishes(client)
            for _ in range(20):
                world.serves()
            world.run()
            if world.is_still and before == [client.progress for client in world.clients.values()]:
                return
        raise AssertionError("it never ends")

    def finishes(self, client: Client) -> None:
        """Do what a client does to have all: upgrade if it had begun to, or else poll until it is told of its end."""
        if client.trial is not None and (client.trial.closed is not None or client.trial.sock.is_done):
            client.trial = None
        elif client.trial is not None and client.lives:
            if not client.probed:
                client.trial.say("2probe")
            elif not client.polls:
                self.world.completes(client)
        elif client.websocket is None and not (client.polls or client.gone or client.told or client.refused):
            self.world.polls(client)

    def when_nobody_answers_pings_nothing_is_left(self) -> None:
        for _ in range(4):
            self.world.passes(26)
            for _ in range(20):
                self.world.goes_on()
        engine = self.world.engine
        assert all(client.reason for client in self.world.clients.values())
        assert not engine.connections
        assert not engine._leaving
        assert not len(engine.reactor), "something is still watched"
        assert all(websocket.sock.fileno() < 0 for websocket in self.world.websockets)

    def in_the_end_everybody_has_what_it_is_owed(self) -> None:
        for client in self.world.clients.values():
            client.check()


@pytest.fixture(autouse=True, scope="module")
def small_slices() -> Iterator[None]:
    """With a handful of sessions there would be no pause in a sweep, and no full inbox."""
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(fanout, "_SLICE", 1)
        patch.setattr(connection, "_MAX_INBOX", 2)
        for module in (connection, reactor):
            patch.setattr(module, "_SLICE_S", 3600)  # by the clock of the machine, which is not repeatable
        yield


WireMachine.TestCase.settings = settings(
    max_examples=_EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWire = pytest.mark.usefixtures("small_slices")(WireMachine.TestCase)
