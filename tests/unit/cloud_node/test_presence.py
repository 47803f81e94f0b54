"""Presence: the lease and the keys of one node, told to a store that is not always there."""

import threading
from typing import Any

import pytest

from cloud_node.presence import Presence
from proto.errors import StoreUnavailable
from tests.fakes.memory_directory import MemoryDirectory, MemoryRegistry, MemoryStore
from tests.fakes.presence import Clock, WatchedRegistry, by_hand, presence_of, turn
from tests.parts.process import until


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(Clock())


def test_after_a_lapse_a_node_is_another_incarnation_with_all_its_keys(store: MemoryStore) -> None:
    presence = by_hand(presence_of(MemoryRegistry(store), store))
    presence.note("alice", 1)
    turn(presence)
    assert presence.node == "h:1#boot.0"
    store.leases["h:1#boot.0"] = 0
    for _ in range(2):
        turn(presence, renews=True)
    assert presence.node == "h:1#boot.1"
    assert store.holders["alice"] == {"h:1#boot.1": 1}, "and what the old one left is swept"


def test_a_restarted_store_is_told_again_and_made_young(store: MemoryStore) -> None:
    store.settle_ms = 1000
    presence = by_hand(presence_of(MemoryRegistry(store), store))
    turn(presence)
    assert store.born is not None
    store.born -= 5000
    assert store.leases_now().settled
    store._run += 1
    turn(presence, renews=True)
    assert presence.node == "h:1#boot.1"
    assert not store.leases_now().settled


def test_a_beginning_whose_answer_was_lost_is_not_repeated_under_the_same_name(store: MemoryStore) -> None:
    begun: list[str] = []
    presence = by_hand(presence_of(WatchedRegistry(store, lambda info: begun.append(info.node)), store))
    store.fail_after(3)  # run_id and its answer, the lease, but not its answer
    with pytest.raises(StoreUnavailable):
        turn(presence)
    assert list(store.leases) == begun == ["h:1#boot.0"]
    store.heal()
    turn(presence)
    assert begun == ["h:1#boot.0", "h:1#boot.1"]
    assert store.leases_now().live == {"h:1#boot.1"}


def test_an_incarnation_that_could_not_be_retired_at_once_is_swept_all_the_same(store: MemoryStore) -> None:
    presence = by_hand(presence_of(MemoryRegistry(store), store))
    presence.note("alice", 1)
    turn(presence)
    store.lose_everything()
    for half_steps in range(30):  # wherever it fails on the way to the new incarnation
        presence.renew_soon(0)
        store.fail_after(half_steps)
        try:
            turn(presence)
        except StoreUnavailable:
            continue
        break
    store.heal()
    turn(presence, renews=True)
    turn(presence)
    assert {node for nodes in store.holders.values() for node in nodes} == {presence.node}
    assert store.leases_now().lapsed == ()


def test_news_that_could_not_be_told_is_told_at_the_next_chance(store: MemoryStore) -> None:
    draining = [False]
    presence = by_hand(presence_of(MemoryRegistry(store), store, draining=lambda: draining[0]))
    turn(presence)
    draining[0] = True
    presence.renew_soon(0)
    store.fail_after(0)
    with pytest.raises(StoreUnavailable):
        turn(presence)
    store.heal()
    turn(presence)
    assert store.info[presence.node].draining


def test_who_no_longer_wants_to_be_told_is_not_and_is_forgotten(store: MemoryStore) -> None:
    presence = by_hand(presence_of(MemoryRegistry(store), store))
    told: list[str] = []
    forget = presence.when_known(lambda: told.append("gone"))
    presence.when_known(lambda: told.append("here"))
    store.fail_after(0)
    with pytest.raises(StoreUnavailable):
        turn(presence)
    forget()
    store.heal()
    turn(presence)
    assert told == ["here"]
    forget()


def _threads(presence: Presence) -> None:
    until(lambda: presence.leased, 5, "a lease")


def test_on_its_own_thread_it_tells_at_once_and_leaves_nothing_behind(store: MemoryStore) -> None:
    presence = presence_of(MemoryRegistry(store), store, renew_every_s=60)
    presence.start()
    _threads(presence)
    known = threading.Event()
    presence.note("alice", 1)
    presence.when_known(known.set)
    assert known.wait(5)
    assert store.holders["alice"] == {presence.node: 1}
    presence.stop()
    assert not presence._thread.is_alive()
    assert (store.holders["alice"], store.leases) == ({}, {})


def test_it_stops_within_a_bound_while_the_store_is_away(store: MemoryStore) -> None:
    presence = presence_of(MemoryRegistry(store), store)
    presence.start()
    _threads(presence)
    store.fail_after(0)
    presence.note("alice", 1)
    presence.stop()
    assert not presence._thread.is_alive()


def test_a_fault_of_ours_does_not_end_the_thread_that_keeps_the_lease(store: MemoryStore) -> None:
    faults = [RuntimeError("a fault of ours")]

    class _Faulty(MemoryDirectory):
        def put(self, node: str, counts: Any) -> None:
            if faults and counts:
                raise faults.pop()
            super().put(node, counts)

    presence = presence_of(MemoryRegistry(store), store)
    presence._directory = _Faulty(store)
    presence.start()
    _threads(presence)
    known = threading.Event()
    presence.note("alice", 1)
    presence.when_known(known.set)
    assert known.wait(5)
    assert not faults
    assert store.holders["alice"] == {presence.node: 1}
    presence.stop()
