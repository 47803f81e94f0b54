"""The reactor: calls what is ready for what it waits for, whatever happens to the others meanwhile."""

import os
import socket
from collections.abc import Callable, Iterator

import eventlet
import pytest

from cloud_node.wire.reactor import NOTHING, READ, WRITE, Reactor
from cloud_node.wire.seam import whenever_ready

_Pair = tuple[socket.socket, socket.socket]


class _Watched:
    def __init__(self, then: Callable[[str], None] = lambda _what: None) -> None:
        self.called: list[str] = []
        self.then = then

    def readable(self) -> None:
        self.called.append("readable")
        self.then("readable")

    def writable(self) -> None:
        self.called.append("writable")
        self.then("writable")


class _World:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.sockets: list[socket.socket] = []

    def pair(self) -> _Pair:
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        self.sockets += ends
        return ends

    def reuse(self, number: int) -> tuple[socket.socket, socket.socket]:
        """Give a pair whose first end has the descriptor *number*, which is free."""
        ours, theirs = self.pair()
        if ours.fileno() == number:
            return ours, theirs
        if theirs.fileno() == number:
            return theirs, ours
        again = socket.socket(fileno=os.dup2(ours.fileno(), number))
        again.setblocking(False)
        self.sockets.append(again)
        return again, theirs

    def ready(self, watched: _Watched) -> socket.socket:
        """Give a socket that is readable, and watched."""
        ours, theirs = self.pair()
        theirs.send(b"x")
        self.reactor.wait_for(ours.fileno(), READ, watched, before=NOTHING)
        return ours


@pytest.fixture
def world() -> Iterator[_World]:
    world = _World()
    yield world
    for each in world.sockets:
        each.close()


def test_what_is_ready_is_called_for_what_is_waited_for(world: _World) -> None:
    ours, theirs = world.pair()
    watched = _Watched()
    world.reactor.wait_for(ours.fileno(), READ, watched, before=NOTHING)
    world.reactor.turn()
    assert watched.called == []
    theirs.send(b"x")
    world.reactor.turn()
    assert watched.called == ["readable"]
    world.reactor.wait_for(ours.fileno(), READ | WRITE, watched, before=READ)
    world.reactor.turn()
    assert watched.called == ["readable", "readable", "writable"]
    world.reactor.wait_for(ours.fileno(), WRITE, watched, before=READ | WRITE)
    world.reactor.turn()
    assert watched.called[3:] == ["writable"]


def test_who_waits_for_nothing_is_not_called_and_not_kept(world: _World) -> None:
    watched = _Watched()
    ours = world.ready(watched)
    assert len(world.reactor) == 1
    world.reactor.wait_for(ours.fileno(), NOTHING, watched, before=READ)
    world.reactor.turn()
    assert watched.called == []
    assert len(world.reactor) == 0


def test_to_wait_for_nothing_after_nothing_changes_nothing(world: _World) -> None:
    ours, _ = world.pair()
    world.reactor.wait_for(ours.fileno(), NOTHING, _Watched(), before=NOTHING)
    assert len(world.reactor) == 0


def test_a_descriptor_that_is_used_again_is_watched_for_its_new_owner(world: _World) -> None:
    first, second = _Watched(), _Watched()
    ours = world.ready(first)
    number = ours.fileno()
    world.reactor.wait_for(number, NOTHING, first, before=READ)
    ours.close()
    again, theirs = world.reuse(number)
    theirs.send(b"x")
    world.reactor.wait_for(again.fileno(), READ, second, before=NOTHING)
    world.reactor.turn()
    assert (first.called, second.called) == ([], ["readable"])


def test_one_that_fails_costs_the_others_nothing(world: _World) -> None:
    def fail(_what: str) -> None:
        raise RuntimeError("a bug")

    all_watched = [_Watched(fail if number % 2 else lambda _what: None) for number in range(10)]
    for watched in all_watched:
        world.ready(watched)
    for _ in all_watched:  # logging what failed may take the whole of a slice
        world.reactor.turn()
    assert all("readable" in watched.called for watched in all_watched)


def test_one_that_another_ready_one_has_closed_is_not_called(world: _World) -> None:
    pair: list[tuple[_Watched, socket.socket]] = []

    def close_other(_what: str) -> None:
        for watched, sock in pair:
            if not watched.called:
                world.reactor.wait_for(sock.fileno(), NOTHING, watched, before=READ)
                sock.close()

    for _ in range(2):
        watched = _Watched(close_other)
        pair.append((watched, world.ready(watched)))
    world.reactor.turn()
    assert sorted(watched.called for watched, _ in pair) == [[], ["readable"]]


def test_what_was_left_for_the_next_turn_and_is_another_ones_by_then_is_not_told_to_either(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two turns a poll is answered and its client goes: a descriptor is closed and used again."""
    monkeypatch.setattr("cloud_node.wire.reactor._SLICE_S", -1)
    stale, fresh = [_Watched(), _Watched()], _Watched()
    socks = [world.ready(each) for each in stale]
    world.reactor.turn()
    (other,) = (number for number in range(2) if not stale[number].called)
    number = socks[other].fileno()
    world.reactor.wait_for(number, NOTHING, stale[other], before=READ)
    socks[other].close()
    world.reuse(number)
    world.reactor.wait_for(number, READ, fresh, before=NOTHING)
    world.reactor.turn()
    assert sorted(each.called for each in stale) == [[], ["readable"]]
    assert fresh.called == []


def test_many_that_take_long_leave_the_rest_to_the_next_turn_which_begins_with_them(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("cloud_node.wire.reactor.time.monotonic", lambda: now[0])

    def take_long(_what: str) -> None:
        now[0] += 0.003

    all_watched = [_Watched(take_long) for _ in range(5)]
    for watched in all_watched:
        world.ready(watched)
    world.reactor.turn()
    assert sum(len(watched.called) for watched in all_watched) == 2
    world.reactor.turn()
    world.reactor.turn()
    assert [len(watched.called) for watched in all_watched] == [1] * 5, "nobody was called twice before the last once"


def test_one_that_was_left_for_the_next_turn_and_has_ended_is_not_called(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("cloud_node.wire.reactor.time.monotonic", lambda: now[0])

    def take_long(_what: str) -> None:
        now[0] += 0.01

    all_watched = [_Watched(take_long) for _ in range(2)]
    sockets = [world.ready(watched) for watched in all_watched]
    world.reactor.turn()
    late = next(number for number, watched in enumerate(all_watched) if not watched.called)
    world.reactor.wait_for(sockets[late].fileno(), NOTHING, all_watched[late], before=READ)
    world.reactor.turn()
    assert all_watched[late].called == []


def test_eventlets_hub_serves_it_beside_greenlets() -> None:
    reactor = Reactor()
    ours, theirs = socket.socketpair()
    done = eventlet.event.Event()

    def read(_what: str) -> None:
        if ours.recv(1) == b"2":
            done.send(True)

    watched = _Watched(read)
    reactor.wait_for(ours.fileno(), READ, watched, before=NOTHING)
    reactor.start(whenever_ready)
    with eventlet.Timeout(5):
        theirs.send(b"1")
        eventlet.sleep(0)
        theirs.send(b"2")
        assert done.wait()
    assert watched.called == ["readable"] * 2
    reactor.wait_for(ours.fileno(), NOTHING, watched, before=READ)
    ours.close()
    theirs.close()
