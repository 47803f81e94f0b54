"""Reading inboxes for the hub: many asks a round trip, each answered once, however often the store is away."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from cloud_node import inbox_reader as module
from cloud_node.inbox_reader import InboxReader, Look
from proto.message import Place
from store.inbox import Page, Position
from tests.fakes.scripted_store import AWAY, REFUSED, ScriptedStore
from tests.parts.process import until

_WAIT_S = 10.0


class _World:
    """A reader that has not begun; what it posts is run at once, on its thread."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        store: Any = self.store
        self.got: list[Any] = []
        self.reader = InboxReader(self.store.client, store, store, self._post, self.got.append)

    @staticmethod
    def _post(run: Callable[[], object]) -> None:
        run()

    def look(self, name: str, *keys: str) -> None:
        def then(positions: Mapping[str, Position], acked: Mapping[str, Place]) -> None:
            self.got.append((name, dict(positions), dict(acked)))

        self.reader.look(Look(keys, name, keys, then))

    def until_got(self, count: int) -> None:
        until(lambda: len(self.got) >= count, _WAIT_S, f"{count} answers")

    @property
    def pages(self) -> list[tuple[str, int, list[int]]]:
        return [
            (each.key, each.after, [kept.offset for kept in each.messages])
            for each in self.got
            if isinstance(each, Page)
        ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[_World]:
    monkeypatch.setattr(module, "_RETRY_S", 0.005)
    it = _World()
    yield it
    it.store.always = None
    if it.store.held is not None:
        it.store.held.set()
    it.reader.stop()
    if it.reader._thread.is_alive():
        it.reader._thread.join(_WAIT_S)
    assert not it.reader._thread.is_alive()


def test_a_thousand_looks_are_four_round_trips(world: _World) -> None:
    world.store.inboxes.append("all", 1, b"1", 60_000)
    world.store.inboxes.write_cursor("s7", "s7", Place("e", 3))
    for number in range(1000):
        world.look(f"s{number}", f"s{number}", "all")
    world.reader.start()
    world.until_got(1000)
    assert len(world.store.trips) == 4
    assert [name for name, _, _ in world.got] == [f"s{number}" for number in range(1000)]
    whole = world.store.inboxes.position("all")
    assert world.got[7] == ("s7", {"s7": Position(), "all": whole}, {"s7": Place("e", 3)})


def test_a_key_that_many_look_at_is_asked_for_once_a_round_trip(world: _World) -> None:
    for number in range(10):
        world.look(f"s{number}", "all")
    world.reader.start()
    world.until_got(10)
    assert world.store.trips == [1 + 10]


def test_pages_of_many_keys_are_one_round_trip(world: _World) -> None:
    for number in range(64):
        world.store.inboxes.append(f"k{number}", 1, b"1", 60_000)
        world.reader.read(f"k{number}", 0, 10, world.got.append)
    world.reader.start()
    world.until_got(64)
    assert world.store.trips == [1]
    assert world.pages[63] == ("k63", 0, [1])


def test_the_page_that_is_asked_for_last_takes_the_place_of_the_first(world: _World) -> None:
    for _ in range(5):
        world.store.inboxes.append("alice", 1, b"1", 60_000)
    none: list[Page] = []
    world.reader.read("alice", 0, 10, none.append)
    world.reader.read("alice", 3, 10, world.got.append)
    world.reader.start()
    world.until_got(1)
    assert world.pages == [("alice", 3, [4, 5])]
    assert none == []


def test_a_page_that_is_asked_for_while_one_is_under_way_is_read_too(world: _World) -> None:
    world.store.held = threading.Event()
    world.reader.read("alice", 0, 10, world.got.append)
    world.reader.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a round trip")
    world.reader.read("alice", 1, 10, world.got.append)
    world.store.held.set()
    world.until_got(2)
    assert [after for _, after, _ in world.pages] == [0, 1]


def test_keys_are_checked_when_there_is_nothing_better_to_do_batch_by_batch(world: _World) -> None:
    world.store.inboxes.append("a", 1, b"1", 60_000)
    world.reader.check([["a", "b"], ["c"]])
    world.look("s", "a")
    world.reader.start()
    world.until_got(3)
    assert [each[0] if isinstance(each, tuple) else sorted(each) for each in world.got] == ["s", ["a", "b"], ["c"]]
    assert world.got[1]["a"].last == 1


def test_a_check_takes_the_place_of_an_earlier_one(world: _World) -> None:
    world.reader.check([["a"], ["b"]])
    world.reader.check([["c"]])
    world.reader.start()
    world.until_got(1)
    world.look("s", "d")
    world.until_got(2)
    assert [each[0] if isinstance(each, tuple) else sorted(each) for each in world.got] == [["c"], "s"]


@pytest.mark.parametrize("error", [AWAY, REFUSED])
def test_while_the_store_is_away_everything_asked_stays_and_is_answered_once_in_order(
    world: _World, error: Exception
) -> None:
    world.store.fails += [error] * 5
    world.look("first", "alice")
    world.look("second", "alice")
    world.reader.read("alice", 0, 10, world.got.append)
    world.reader.check([["alice"]])
    world.reader.start()
    until(lambda: world.store.tried >= 3, _WAIT_S, "a third try")
    world.look("third", "alice")
    world.until_got(5)
    names = [each[0] for each in world.got if isinstance(each, tuple)]
    assert names == ["first", "second", "third"]
    assert len(world.pages) == 1
    assert len(world.got) == 5


def test_a_check_that_failed_is_made_again(world: _World) -> None:
    world.store.fails += [AWAY]
    world.reader.check([["a"], ["b"]])
    world.reader.start()
    world.until_got(2)
    assert [sorted(each) for each in world.got] == [["a"], ["b"]]


def test_a_page_that_failed_makes_way_for_the_one_that_was_asked_for_since(world: _World) -> None:
    world.store.held = threading.Event()
    world.store.fails += [AWAY]
    none: list[Page] = []
    world.reader.read("alice", 0, 10, none.append)
    world.reader.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a try")
    world.reader.read("alice", 3, 10, world.got.append)
    world.store.held.set()
    world.until_got(1)
    assert [after for _, after, _ in world.pages] == [3]
    assert none == []


def test_what_was_answered_before_the_store_went_away_is_not_asked_again(world: _World) -> None:
    world.store.fails += [None, AWAY]
    world.look("one", "alice")
    world.reader.read("alice", 0, 10, world.got.append)
    world.reader.start()
    world.until_got(2)
    world.reader.stop()
    world.reader._thread.join(_WAIT_S)
    assert [type(each) for each in world.got] == [tuple, Page]


def test_while_the_store_is_away_it_is_tried_now_and_then(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 3600.0)
    world.store.always = AWAY
    world.look("one", "alice")
    world.reader.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a try")
    asks: list[Callable[[], None]] = [
        lambda: world.look("two", "alice"),
        lambda: world.reader.read("alice", 0, 10, world.got.append),
        lambda: world.reader.check([["alice"]]),
    ]
    for ask in asks * 100:
        ask()
    assert world.store.tried == 1, "whoever asks more does not make it try sooner"


def test_one_that_stops_reads_no_more_and_waits_for_nothing(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 3600.0)
    world.store.always = AWAY
    world.look("one", "alice")
    world.reader.start()
    until(lambda: world.store.tried == 1, _WAIT_S, "a try")
    world.reader.stop()
    world.reader._thread.join(_WAIT_S)
    assert not world.reader._thread.is_alive()
    assert world.got == []
