"""Presence against a store that may fail at any command: what it ends up knowing, and what it must never be told."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proto.errors import StoreUnavailable
from store.registry import NodeInfo
from tests.fakes.memory_directory import MemoryDirectory, MemoryStore
from tests.fakes.presence import TTL_S, Clock, WatchedRegistry, by_hand, presence_of, turn

_KEYS = ("alice", "bob", "room:a", "all")


class PresenceMachine(RuleBasedStateMachine):
    """Drives the loop step by step; the hub's counts are the truth, and no two notes of a key say the same number."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.registry = WatchedRegistry(self.store, self._lease_begins)
        self.directory = MemoryDirectory(self.store)
        self.presence = by_hand(presence_of(self.registry, self.store))
        self.noted: dict[str, list[int]] = {key: [0] for key in _KEYS}
        self.seen_dead: set[str] = set()
        self.asked = self.told = 0
        self.emptied = self.went_back = self.ever_went_back = False
        self.on_disk = self.store.snapshot()

    def _written(self, node: str, key: str) -> int:
        return self.store.holders.get(key, {}).get(node, 0)

    def _lease_begins(self, info: NodeInfo) -> None:
        assert info.node not in self.seen_dead, "a lease that was over began again: a sweep may be under way"
        for key, counts in self.noted.items():
            assert self._written(info.node, key) == counts[-1], "a lease begins before its keys are there"
        self.emptied = False

    def _turn(self, *, renews: bool) -> None:
        try:
            turn(self.presence, renews=renews)
        except StoreUnavailable:
            return

    @rule(key=st.sampled_from(_KEYS), gone=st.booleans())
    def sessions_come_and_go(self, key: str, gone: bool) -> None:
        counts = self.noted[key]
        counts.append(0 if gone else len(counts))
        self.presence.note(key, counts[-1])

    @rule()
    def somebody_wants_to_be_told(self) -> None:
        asked_at = {key: len(counts) - 1 for key, counts in self.noted.items()}
        self.asked += 1

        def tell() -> None:
            self.told += 1
            node = self.presence.node
            if self.emptied:  # which shows at the next renewal; until then the store says that it is young
                assert not self.store.leases_now().settled
                return
            if self.went_back:
                return
            for key, index in asked_at.items():
                assert self._written(node, key) in self.noted[key][index:], "told before the store knows"
            assert node in self.store.info, "told before there was a lease"

        self.presence.when_known(tell)

    @rule(renews=st.booleans())
    def the_loop_turns(self, renews: bool) -> None:
        self._turn(renews=renews)

    @rule(half_steps=st.integers(0, 12), renews=st.booleans())
    def the_loop_turns_while_the_store_goes_away(self, half_steps: int, renews: bool) -> None:
        self.store.fail_after(half_steps)
        self.the_loop_turns(renews)
        self.store.heal()

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now_ms += seconds * 1000
        self.presence._renew_at -= seconds

    @rule()
    def another_node_sweeps(self) -> None:
        for node in self.registry.lapsed():
            self.seen_dead.add(node)
            for _ in self.directory.sweep(node):
                pass
            self.registry.bury(node)

    @rule()
    def the_store_writes_to_disk(self) -> None:
        self.on_disk = self.store.snapshot()

    @rule(empty=st.booleans())
    def the_store_restarts(self, empty: bool) -> None:
        if empty:
            self.store.lose_everything()
            self.on_disk = self.store.snapshot()
            self.emptied = True
        else:
            self.store.restore(self.on_disk)
            self.went_back = self.ever_went_back = True

    @rule()
    def in_the_end_the_store_knows_what_the_hub_knows(self) -> None:
        for _ in range(2):
            self._turn(renews=True)
        for key, counts in self.noted.items():
            assert self._written(self.presence.node, key) == counts[-1]
        if self.went_back:  # a goodbye may be among what was lost: that lease then ends by itself
            self.time_passes(int(TTL_S) + 1)
            self.went_back = False
        for _ in range(2):
            self._turn(renews=True)
        assert self.directory.counts(_KEYS) == {key: counts[-1] for key, counts in self.noted.items()}
        if not self.ever_went_back:  # that may bring back the keys of an incarnation before its lease: they count never
            assert {node for nodes in self.store.holders.values() for node in nodes} <= {self.presence.node}
        assert self.registry.live() == [NodeInfo(self.presence.node, "h:1", "http://h:2")]
        assert self.registry.lapsed() == ()
        assert self.told == self.asked
        assert self.presence.leased

    def teardown(self) -> None:
        self.in_the_end_the_store_knows_what_the_hub_knows()

    @precondition(lambda self: not self.store.leases_now().live)
    @invariant()
    def without_a_lease_nobody_is_led_here(self) -> None:
        assert set(self.directory.resolve(_KEYS).nodes.values()) == {()}


PresenceMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestPresence = PresenceMachine.TestCase
