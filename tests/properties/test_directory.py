"""Two nodes, one directory: sessions move, nodes crash, pause and come back, and nobody is lost or led astray.

The nodes are real hubs and real presences, turned by hand; a session that was told that the store knows it is *known*.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from cloud_node.presence import Presence
from proto import keys as key_names
from store.registry import NodeInfo
from tests.fakes.memory_directory import MemoryDirectory, MemoryRegistry, MemoryStore
from tests.fakes.presence import TTL_S, Clock, by_hand, turn

_WHO = ("alice", "bob")
_ROOMS = ("a", "b")
_KEYS = (*_WHO, "room:a", "room:b", "all")
_ADDRESSES = ("h:1", "h:2")


@dataclass
class _Node:
    """One process: what it holds ends with it."""

    address: str
    boot: int
    store: MemoryStore
    known: dict[Session, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.presence = by_hand(
            Presence(
                MemoryRegistry(self.store),
                MemoryDirectory(self.store),
                lambda node: NodeInfo(node, self.address, ""),
                lambda generation: f"{self.address}#{self.boot}.{generation}",
                lease_ttl_s=TTL_S,
                renew_every_s=3.0,
            )
        )
        self.hub = Hub(self.presence.note)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            turn(self.presence, renews=True)


class DirectoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.directory = MemoryDirectory(self.store)
        self.registry = MemoryRegistry(self.store)
        self.number = 0
        self.crashed: dict[str, int] = {}
        self.nodes = {address: self._boot(address) for address in _ADDRESSES}

    def _boot(self, address: str) -> _Node:
        self.number += 1
        return _Node(address, self.number, self.store)

    @rule(address=st.sampled_from(_ADDRESSES), who=st.sampled_from(_WHO), rooms=st.sets(st.sampled_from(_ROOMS)))
    def connects(self, address: str, who: str, rooms: set[str]) -> None:
        self.number += 1
        node = self.nodes[address]
        session = node.hub.add(f"sid{self.number}", Identity(who, None, tuple(sorted(rooms))))
        node.presence.when_known(lambda: node.known.setdefault(session))

    @rule(address=st.sampled_from(_ADDRESSES), which=st.integers(0, 5))
    def disconnects(self, address: str, which: int) -> None:
        node = self.nodes[address]
        sessions = list(node.hub)
        if sessions:
            node.hub.remove(sessions[which % len(sessions)].sid)

    @rule(here=st.sampled_from(_ADDRESSES), who=st.sampled_from(_WHO), there_first=st.booleans())
    def moves_while_its_old_node_notices_late(self, here: str, who: str, there_first: bool) -> None:
        there = next(address for address in _ADDRESSES if address != here)
        moving = [session for session in self.nodes[here].hub if session.identity.key == who]
        self.connects(there, who, set())
        if there_first:
            self.nodes[there].turn()
        for session in moving:
            self.nodes[here].hub.remove(session.sid)
        self.nodes[here].turn()

    @rule(address=st.sampled_from(_ADDRESSES), room=st.sampled_from(_ROOMS), which=st.integers(0, 5))
    def joins_or_leaves(self, address: str, room: str, which: int) -> None:
        node = self.nodes[address]
        sessions = list(node.hub)
        if not sessions:
            return
        session, key = sessions[which % len(sessions)], key_names.room_key(room)
        if node.hub.detach(session, key):
            return
        node.known.pop(session, None)
        node.hub.attach(session, key)
        node.presence.when_known(lambda: node.known.setdefault(session))

    @rule(address=st.sampled_from(_ADDRESSES))
    def turns(self, address: str) -> None:
        self.nodes[address].turn()

    @rule(address=st.sampled_from(_ADDRESSES))
    def crashes_and_starts_again(self, address: str) -> None:
        self.crashed[self.nodes[address].presence.node] = self.clock.now_ms
        self.nodes[address] = self._boot(address)

    @rule(address=st.sampled_from(_ADDRESSES))
    def leaves_in_good_order_and_starts_again(self, address: str) -> None:
        node = self.nodes[address]
        node.turn()
        node.presence._stop.set()
        node.presence._run()
        assert node.presence.node not in self.store.leases
        self.crashed[node.presence.node] = 0
        self.nodes[address] = self._boot(address)

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def time_passes_and_nobody_turns(self, seconds: int) -> None:
        self.clock.now_ms += seconds * 1000

    @rule()
    def in_the_end_every_session_is_found_and_only_where_it_is(self) -> None:
        for _ in range(2):
            for node in self.nodes.values():
                node.turn()
        self.clock.now_ms += 4000
        for node in self.nodes.values():
            node.turn()
        self.clock.now_ms += int(TTL_S * 1000) - 3000  # the leases of the crashed are over, not those of the living
        for _ in range(2):
            for node in self.nodes.values():
                node.turn()
        held = {key: {n.presence.node: len(n.hub.holders(key)) for n in self.nodes.values()} for key in _KEYS}
        assert self.directory.resolve(_KEYS).nodes == {
            key: tuple(sorted(node for node, count in nodes.items() if count)) for key, nodes in held.items()
        }
        assert self.directory.counts(_KEYS) == {key: sum(nodes.values()) for key, nodes in held.items()}
        assert self.registry.lapsed() == ()
        names = {node.presence.node for node in self.nodes.values()}
        assert {name for nodes in self.store.holders.values() for name in nodes} <= names, "something is left"

    def teardown(self) -> None:
        self.in_the_end_every_session_is_found_and_only_where_it_is()

    @invariant()
    def a_known_session_is_never_lost_while_its_node_is_alive(self) -> None:
        live = self.store.leases_now().live
        routes = self.directory.resolve(_KEYS).nodes
        for node in self.nodes.values():
            if node.presence.node not in live:
                continue
            for session in node.known:
                for key in session.keys:
                    assert node.presence.node in routes[key]

    @invariant()
    def a_dead_incarnation_is_never_named(self) -> None:
        for nodes in self.directory.resolve(_KEYS).nodes.values():
            for name in nodes:
                died_ms = self.crashed.get(name)
                assert died_ms is None or self.clock.now_ms < died_ms + TTL_S * 1000


DirectoryMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestDirectory = DirectoryMachine.TestCase
