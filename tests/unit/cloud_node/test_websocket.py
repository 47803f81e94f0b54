"""A websocket: what it reads and writes, pings, pauses, and its limit, on real sockets."""

from collections.abc import Iterator

import pytest

from cloud_node.wire import frames
from cloud_node.wire.frames import BINARY, CLOSE, PING, PONG, TEXT
from cloud_node.wire.outbox import Outbox
from cloud_node.wire.websocket import Websocket
from tests.fakes.client_frames import frame
from tests.fakes.websocket_world import BIG, BROKEN, LIMIT, World
from tests.fakes.wire import fill, frames_in, small_pair, take_all, until


@pytest.fixture
def world() -> Iterator[World]:
    world = World(small_pair())
    yield world
    world.close()


def test_messages_go_to_the_owner_in_order_whatever_the_reads(world: World) -> None:
    stream = frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, "drei ü".encode())
    for at in range(0, len(stream), 5):
        world.say(stream[at : at + 5])
    assert world.owner.told == ["one", b"two", "drei ü"]


def test_what_the_socket_takes_is_written_at_once_and_nothing_is_kept(world: World) -> None:
    world.websocket.write(frames.encode(TEXT, b"hello"))
    assert world.peer.heard == [(TEXT, b"hello")]
    assert world.websocket.outbox is None


def test_what_it_does_not_take_follows_in_order_when_it_is_read(world: World) -> None:
    small = frames.encode(TEXT, b"small")
    world.websocket.write(BIG)
    assert world.websocket.outbox is not None
    for _ in range(3):
        world.websocket.write(small)
    stream = world.read_until(len(BIG) + 3 * len(small))
    assert stream == BIG + 3 * small
    assert world.websocket.outbox is None


def test_a_full_socket_holds_the_whole_chunk(world: World) -> None:
    zeros = fill(world.sock)
    world.websocket.write(frames.encode(TEXT, b"hello"))
    assert world.websocket.outbox is not None
    assert world.read_until(zeros + 7)[zeros:] == frames.encode(TEXT, b"hello")


def test_it_waits_to_write_only_while_something_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    flush = Websocket.flush

    def count(websocket: Websocket) -> None:
        calls.append(None)
        flush(websocket)

    def turns() -> int:
        calls.clear()
        for _ in range(5):
            world.reactor.turn()
        return len(calls)

    monkeypatch.setattr(Websocket, "writable", count)
    assert turns() == 0
    world.websocket.write(BIG)
    world.read_until(len(BIG))
    assert calls
    assert turns() == 0


def test_a_ping_is_answered_with_its_payload_and_a_pong_ignored(world: World) -> None:
    world.say(frame(PING, b"are you there") + frame(PONG, b"unasked"))
    world.say(frame(PING, b"one") + frame(PING, b"two"))
    assert world.peer.heard == [(PONG, b"are you there"), (PONG, b"two")], "the last of those that come together"
    assert world.owner.told == []


# Pause and resume


def test_while_it_is_paused_nothing_is_read_and_all_after(world: World) -> None:
    world.websocket.pause()
    world.say(frame(TEXT, b"one"))
    assert world.owner.told == []
    world.websocket.write(frames.encode(TEXT, b"out"))
    assert world.peer.heard == [(TEXT, b"out")]
    world.websocket.resume()
    world.reactor.turn()
    assert world.owner.told == ["one"]


def test_a_paused_one_still_writes_what_waits(world: World) -> None:
    world.websocket.write(BIG)
    world.websocket.pause()
    assert world.read_until(len(BIG)) == BIG


def test_a_paused_one_whose_client_is_gone_is_cut_by_the_next_write(world: World) -> None:
    world.websocket.pause()
    world.peer.sock.close()
    world.websocket.write(frames.encode(TEXT, b"x"))
    assert world.owner.told == [BROKEN]
    assert world.is_gone


def test_a_paused_one_can_be_cut_and_finished(world: World) -> None:
    world.websocket.pause()
    world.websocket.finish(1000, "")
    assert world.peer.heard == [(CLOSE, b"\x03\xe8")]
    world.websocket.pause()
    world.peer.close()
    world.peer.sock.close()
    until(lambda: world.is_gone, world.reactor)


# The end of a client that does not read


def _overrun(world: World) -> int:
    """Write until the owner is told; gives how many frames were written."""
    for count in range(1, 10):
        world.websocket.write(BIG)
        if world.owner.told:
            return count
    raise AssertionError("no limit")


def test_past_the_limit_the_begun_frame_is_ended_and_the_client_told_to_come_back(world: World) -> None:
    count = _overrun(world)
    assert world.owner.told == ["overrun"]
    assert world.websocket.outbox is not None
    assert world.websocket.outbox.size < 2 * len(BIG), "what waited is not kept"
    heard = list(frames_in(world.read_to_end()))
    assert heard[:-1] == [(TEXT, b"x" * 20_000)] * (len(heard) - 1)
    assert 1 <= len(heard) - 1 < count
    assert heard[-1] == (CLOSE, (1013).to_bytes(2, "big") + b"too slow: reconnect")
    world.peer.sock.close()
    until(lambda: world.is_gone, world.reactor)
    assert world.owner.told == ["overrun"]


def test_up_to_the_limit_everything_is_kept(world: World) -> None:
    world.websocket.write(BIG)
    outbox = world.websocket.outbox
    assert outbox is not None
    rest = LIMIT - outbox.size
    last = frames.encode(TEXT, bytes(rest - 4))
    assert len(last) == rest
    world.websocket.write(last)
    assert outbox.size == LIMIT
    assert world.owner.told == []
    assert world.read_until(len(BIG) + rest) == BIG + last


def test_a_client_that_has_read_meanwhile_is_not_held_to_the_limit(world: World) -> None:
    """The socket is asked again first: it may have room that the reactor has not told of yet."""
    for _ in range(2):
        world.websocket.write(BIG)
    outbox = world.websocket.outbox
    assert outbox is not None
    outbox.put(frames.encode(TEXT, bytes(LIMIT - outbox.size - 4)))
    take_all(world.peer.sock)
    world.websocket.write(frames.encode(TEXT, b"one more"))
    assert world.owner.told == []


def test_nothing_is_written_behind_the_close_frame_of_an_overrun(world: World) -> None:
    """A chunk past the limit that was left in the outbox: the next write finds it, flushes, and ends it."""
    zeros = fill(world.sock)
    world.websocket.outbox = waiting = Outbox(BIG * 3)
    assert waiting.size > LIMIT
    world.websocket.write(frames.encode(TEXT, b"late"))
    assert world.owner.told == ["overrun"]
    heard = list(frames_in(world.read_to_end()[zeros:]))
    assert heard == [(CLOSE, (1013).to_bytes(2, "big") + b"too slow: reconnect")]
