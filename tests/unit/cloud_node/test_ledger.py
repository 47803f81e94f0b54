"""What sessions have is written behind: in few round trips, bounded, and once the store answers again."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cloud_node import ledger as module
from cloud_node import metrics
from cloud_node.ledger import Ledger
from proto.message import Place
from store.receipts import State, Step
from tests.fakes.scripted_store import AWAY, REFUSED, ScriptedStore
from tests.parts.process import until

_WAIT_S = 10.0


class _World:
    """A ledger that has not begun to write."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.now_ms = 1000
        store: Any = self.store
        self.ledger = Ledger(self.store.client, store, store, store, lambda: self.now_ms, writer="boot")
        self._lost = self._lost_ever

    @property
    def _lost_ever(self) -> float:
        return metrics.LEDGER_LOST._value.get()  # type: ignore[no-any-return]

    @property
    def lost(self) -> int:
        return int(self._lost_ever - self._lost)

    def write(self) -> None:
        """Let it write until nothing is left, and end."""
        self.ledger.start()
        self.ledger.stop()
        assert not self.ledger._thread.is_alive()

    def until_done(self, count: int) -> None:
        until(lambda: len(self.store.done) >= count, _WAIT_S, f"{count} calls done")

    @property
    def steps(self) -> dict[str, list[Step]]:
        """What was written, by push."""
        written: dict[str, list[Step]] = {}
        for words in self.store.done:
            if words[0] == "ADVANCE":
                written.setdefault(words[1], []).extend(words[2])
        return written

    @property
    def cursors(self) -> list[tuple[str, dict[str, Place]]]:
        return [(words[1], words[2]) for words in self.store.done if words[0] == "CURSOR"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[_World]:
    monkeypatch.setattr(module, "_RETRY_S", 0.005)
    it = _World()
    yield it
    if it.store.held is not None:
        it.store.held.set()
    if it.ledger._thread.is_alive():
        it.store.always = None
        it.ledger.stop()


def test_the_notes_of_one_push_and_key_are_one(world: _World) -> None:
    place = Place("e", 1)
    world.ledger.handed("p", "alice", place, 2)
    world.now_ms += 5
    world.ledger.handed("p", "alice", place, 1)
    world.ledger.acked("p", "alice")
    world.now_ms += 5
    world.ledger.acked("p", "alice")
    world.ledger.handed("p", "all", None, 7)
    world.write()
    assert world.store.trips == [1]
    assert world.steps == {
        "p": [
            Step("alice", State.EMITTED, 1000, sessions=3, place=place),
            Step("alice", State.ACKED, 1005, sessions=2),
            Step("all", State.EMITTED, 1010, sessions=7),
        ]
    }


def test_a_thousand_notes_are_two_round_trips(world: _World) -> None:
    for number in range(1000):
        world.ledger.handed(f"p{number}", "alice", None, 1)
    world.write()
    assert world.store.trips == [500, 500]
    assert len(world.steps) == 1000


def test_the_newest_cursor_takes_the_place_of_older_ones(world: _World) -> None:
    for offset in (1, 2, 3):
        world.ledger.cursor("alice", "room:a", Place("e", offset))
    world.ledger.cursor("alice", "all", Place("f", 9))
    world.write()
    assert world.cursors == [("alice", {"room:a": Place("e", 3), "all": Place("f", 9)})]


def test_while_the_store_is_away_the_same_batch_is_tried_again_under_its_number(world: _World) -> None:
    world.store.fails += [AWAY, AWAY, AWAY]
    world.ledger.handed("p", "alice", None, 1)
    world.ledger.cursor("alice", "alice", Place("e", 1))
    world.ledger.start()
    world.until_done(2)
    world.ledger.handed("q", "alice", None, 1)
    world.until_done(3)
    marks = [words[3] for words in world.store.done if words[0] == "ADVANCE"]
    assert [(mark.writer, mark.number) for mark in marks] == [("boot", 1), ("boot", 2)]
    assert world.store.tried == 5
    assert world.lost == 0


def test_what_is_noted_while_a_batch_is_under_way_goes_with_the_next(world: _World) -> None:
    world.store.held = threading.Event()
    world.ledger.handed("p", "alice", None, 1)
    world.ledger.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a round trip")
    for _ in range(3):
        world.ledger.handed("p", "alice", None, 1)
    world.store.held.set()
    world.until_done(2)
    assert [step.sessions for step in world.steps["p"]] == [1, 3]


def test_a_retry_does_not_repeat_what_was_done(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    world.store.fails += [None, AWAY]
    for name in ("p", "q"):
        world.ledger.handed(name, "alice", None, 1)
    world.ledger.start()
    world.until_done(2)
    assert [words[1] for words in world.store.done] == ["p", "q"]


def test_what_the_store_refuses_is_given_up_and_counted_and_the_rest_is_written(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    world.store.fails += [REFUSED]
    for number in range(4):
        world.ledger.handed(f"p{number}", "alice", None, 1)
    world.write()
    assert sorted(world.steps) == ["p1", "p2", "p3"]
    assert world.lost == 2


def test_at_most_so_many_notes_wait_and_the_oldest_go_first(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 4)
    for number in range(3):
        world.ledger.handed(f"p{number}", "alice", None, 1)
        world.ledger.handed(f"p{number}", "all", None, 1)
    assert len(world.ledger._notes) == 4
    world.write()
    assert sorted(world.steps) == ["p1", "p2"]
    assert world.lost == 2


@pytest.mark.parametrize("kind", ["pushes of many keys", "ranges", "cursors", "cursors of one session"])
def test_whatever_is_noted_stays_within_the_bound(world: _World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    for number in range(100):
        if kind == "pushes of many keys":
            world.ledger.handed(f"p{number // 5}", f"k{number}", None, 1)
        elif kind == "ranges":
            world.ledger.acked_before("alice", number, number + 1)
            world.ledger.acked_before("alice", number, number + 1)
        else:
            world.ledger.cursor(
                "alice" if kind == "cursors of one session" else f"s{number}", f"k{number}", Place("e", 1)
            )
        assert len(world.ledger._notes) == world.ledger._count <= 10
    assert len(world.ledger._notes) + world.lost == 100


def test_receipts_make_room_for_cursors_since_a_cursor_spares_a_message(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    world.ledger.cursor("alice", "alice", Place("e", 1))
    for number in range(5):
        world.ledger.handed(f"p{number}", "alice", None, 1)
    world.ledger.acked_before("alice", 0, 1)
    assert list(world.ledger._notes.ranges) == [("alice", 0, 1)]
    world.ledger.handed("p5", "alice", None, 1)
    world.write()
    assert world.cursors == [("alice", {"alice": Place("e", 1)})]
    assert sorted(world.steps) == ["p4", "p5"], "what is to be looked up first goes first"
    assert world.store.reads == []


def test_a_range_that_was_acked_before_is_found_in_the_inbox(world: _World) -> None:
    for _ in range(200):
        world.store.inboxes.append("alice", 1, b"1", 60_000)
    world.ledger.acked_before("alice", 50, 150)
    world.ledger.handed("p60", "alice", Place("e0", 61), 1)
    world.write()
    assert sorted(world.steps) == sorted(f"p{number}" for number in range(50, 150))
    assert world.steps["p50"] == [
        Step("alice", State.EMITTED, 1000, place=Place("e0", 51)),
        Step("alice", State.ACKED, 1000),
    ]
    assert world.steps["p60"][0] == Step("alice", State.EMITTED, 1000, sessions=1, place=Place("e0", 61))
    assert [read["alice"] for read in world.store.reads] == [50, 114]


def test_a_range_is_read_again_when_the_store_was_away(world: _World) -> None:
    world.store.inboxes.append("alice", 1, b"1", 60_000)
    world.store.fails += [AWAY]
    world.ledger.acked_before("alice", 0, 1)
    world.ledger.start()
    world.until_done(1)
    assert list(world.steps) == ["p0"]


def test_a_node_that_stops_writes_what_is_left(world: _World) -> None:
    world.store.held = threading.Event()
    world.ledger.handed("p", "alice", None, 1)
    world.ledger.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a round trip")
    world.ledger.handed("q", "alice", None, 1)
    world.store.held.set()
    world.ledger.stop()
    assert sorted(world.steps) == ["p", "q"]


def test_a_node_that_stops_while_the_store_is_away_waits_for_a_bounded_time_and_counts_what_is_lost(
    world: _World,
) -> None:
    world.store.always = AWAY
    for name in ("p", "q"):
        world.ledger.handed(name, "alice", None, 1)
    world.ledger.start()
    until(lambda: world.store.tried >= 2, _WAIT_S, "a second try")
    world.ledger.stop()
    assert not world.ledger._thread.is_alive()
    assert world.lost == 2


def test_nothing_is_sent_while_nothing_is_noted(world: _World) -> None:
    world.ledger.start()
    world.ledger.handed("p", "alice", None, 1)
    world.until_done(1)
    world.ledger.stop()
    assert world.store.tried == 1
