"""How a websocket ends: by its client, from here, or by what breaks; each once, and nothing is left of it."""

from collections.abc import Iterator

import pytest

from cloud_node.wire import frames
from cloud_node.wire.frames import CLOSE, PING, TEXT
from tests.fakes.client_frames import frame
from tests.fakes.websocket_world import BIG, BROKEN, BY_CLIENT, OUR_ERROR, World
from tests.fakes.wire import frames_in, has_ended, reset, small_pair, tcp_pair, until


@pytest.fixture
def world() -> Iterator[World]:
    world = World(small_pair())
    yield world
    world.close()


# The end, begun by the client


def test_the_clients_close_is_answered_with_its_code_and_the_socket_closed(world: World) -> None:
    world.say(frame(TEXT, b"last") + frame(CLOSE, b"\x03\xe9bye") + frame(TEXT, b"after"))
    assert world.owner.told == ["last", BY_CLIENT]
    assert world.peer.heard == [(CLOSE, b"\x03\xe9")]
    assert has_ended(world.peer.sock)
    assert world.is_gone


def test_a_close_without_a_code_is_answered_with_1000(world: World) -> None:
    world.say(frame(CLOSE))
    assert world.peer.heard == [(CLOSE, b"\x03\xe8")]


def test_what_waits_is_still_written_before_the_clients_close_is_answered(world: World) -> None:
    world.websocket.write(BIG)
    world.say(frame(CLOSE, b"\x03\xe8"))
    assert world.owner.told == [BY_CLIENT]
    stream = world.read_to_end()
    assert list(frames_in(stream)) == [(TEXT, b"x" * 20_000), (CLOSE, b"\x03\xe8")]
    world.peer.sock.close()
    until(lambda: world.is_gone, world.reactor)


def test_a_client_that_is_gone_without_a_word_has_failed(world: World) -> None:
    world.peer.sock.close()
    world.reactor.turn()
    assert world.owner.told == [BROKEN]
    assert world.is_gone


def test_a_reset_is_an_end_and_no_error_of_ours() -> None:
    world = World(tcp_pair())
    reset(world.peer.sock)
    until(lambda: world.is_gone, world.reactor)
    assert world.owner.told == [BROKEN]


def test_a_write_that_fails_tells_the_owner_once(world: World) -> None:
    world.peer.sock.close()
    for _ in range(3):
        world.websocket.write(frames.encode(TEXT, b"x"))
    assert world.owner.told == [BROKEN]
    assert world.is_gone


def test_what_waits_is_dropped_when_its_write_fails(world: World) -> None:
    world.websocket.write(BIG)
    world.peer.sock.close()
    world.websocket.flush()
    assert world.owner.told == [BROKEN]
    assert world.is_gone


@pytest.mark.parametrize(
    ("data", "code"),
    [(frame(TEXT, b"x", mask=None), 1002), (frame(TEXT, b"\xff"), 1007), (frame(TEXT, b"x" * 1001), 1009)],
)
def test_a_malformed_frame_ends_it_with_the_code_that_says_so(world: World, data: bytes, code: int) -> None:
    world.say(frame(TEXT, b"good") + data + frame(TEXT, b"after"))
    assert world.owner.told == ["good", OUR_ERROR]
    ((opcode, payload),) = world.peer.heard
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
    assert payload[2:], "a reason"


# The end, begun here


def test_to_finish_says_why_and_waits_for_the_client_whose_words_count_no_more(world: World) -> None:
    world.websocket.finish(1012, "stopping")
    assert world.peer.heard == [(CLOSE, (1012).to_bytes(2, "big") + b"stopping")]
    assert has_ended(world.peer.sock), "it says no more"
    world.say(frame(TEXT, b"too late") + frame(PING))
    assert world.owner.told == []
    assert not world.is_gone
    world.say(frame(CLOSE, b"\x03\xf4"))
    world.peer.sock.close()
    world.reactor.turn()
    assert world.is_gone
    assert world.owner.told == [], "who ends it is not told"


def test_to_finish_writes_what_waits_first(world: World) -> None:
    world.websocket.write(BIG)
    world.websocket.finish(1000, "")
    world.websocket.finish(1001, "again")
    assert list(frames_in(world.read_to_end())) == [(TEXT, b"x" * 20_000), (CLOSE, b"\x03\xe8")]


def test_nothing_is_written_behind_a_close_frame(world: World) -> None:
    world.websocket.write(BIG)
    world.websocket.finish(1000, "")
    for _ in range(3):
        world.websocket.write(frames.encode(TEXT, b"late"))
    assert list(frames_in(world.read_to_end())) == [(TEXT, b"x" * 20_000), (CLOSE, b"\x03\xe8")]


def test_an_end_in_the_middle_of_a_read_stops_it(world: World) -> None:
    world.say(frame(TEXT, b"one") + frame(TEXT, b"finish") + frame(TEXT, b"two") + frame(PING))
    assert world.owner.told == ["one", "finish"]
    assert world.peer.heard == [(CLOSE, b"\x03\xe8as you say")]


def test_a_client_that_does_not_close_is_cut_after_a_while_and_not_before(world: World) -> None:
    world.websocket.finish(1000, "")
    world.pass_s(4.9)
    assert not world.is_gone
    world.pass_s(0.7)
    assert world.is_gone


def test_a_client_that_does_not_read_to_the_end_is_cut_after_a_while(world: World) -> None:
    world.websocket.write(BIG)
    world.websocket.finish(1000, "")
    world.pass_s(5.6)
    assert world.is_gone


def test_to_cut_closes_now_and_may_be_said_again(world: World) -> None:
    world.websocket.write(BIG)
    for _ in range(2):
        world.websocket.cut()
        assert world.is_gone
    world.websocket.finish(1000, "")
    world.websocket.write(b"x")
    world.websocket.flush()
    world.websocket.pause()
    world.websocket.resume()
    assert world.is_gone
    assert world.owner.told == []
