"""Fan-out: each connection gets what was handed to it in the order of the calls, written as seldom as can be."""

from collections.abc import Iterator

import pytest

from cloud_node.wire import fanout as fanout_module
from cloud_node.wire.connection import frame
from cloud_node.wire.recipients import Recipient, Recipients
from cloud_node.wire.websocket import Websocket
from tests.fakes.fanout_world import FanoutWorld
from tests.fakes.wire import reset, take_all, until


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[FanoutWorld]:
    monkeypatch.setattr(fanout_module, "_SLICE", 2)
    world = FanoutWorld(6)
    yield world
    world.rig.close()


def test_a_packet_is_framed_once_and_written_at_once_to_everybody(world: FanoutWorld) -> None:
    world.emit(world.everybody, "4a")
    assert world.texts == [["4a"]] * 6
    assert world.framed == [b"4a"]
    assert world.is_idle


def test_a_packet_for_one_is_written_at_once_without_a_pause(world: FanoutWorld) -> None:
    world.emit(world.group(3), "4a")
    world.send(4, "4b")
    assert world.texts == [[], [], [], ["4a"], ["4b"], []]
    assert world.pauses == 0


def test_what_is_gathered_for_the_same_recipients_is_one_write_each(world: FanoutWorld) -> None:
    writes = _count_writes(world)
    world.fanout.begin()
    world.emit(world.everybody, "4a", "4b", "4c")
    assert world.texts == [[]] * 6
    world.fanout.flush()
    assert writes == [1] * 6
    assert world.texts == [["4a", "4b", "4c"]] * 6
    assert len(world.framed) == 3
    world.emit(world.everybody, "4d")
    assert world.texts == [["4d"]] * 6, "gathering ends with the flush"


def test_what_is_gathered_for_different_recipients_keeps_its_order(world: FanoutWorld) -> None:
    some = world.group(1, 2, 3)
    world.fanout.begin()
    world.emit(world.everybody, "4a")
    world.emit(some, "4b")
    world.send(2, "4c")
    world.emit(world.everybody, "4d")
    world.send(5, "4e")
    world.fanout.flush()
    assert world.texts == [
        ["4a", "4d"],
        ["4a", "4b", "4d"],
        ["4a", "4b", "4c", "4d"],
        ["4a", "4b", "4d"],
        ["4a", "4d"],
        ["4a", "4d", "4e"],
    ]
    assert world.is_idle


def test_what_is_gathered_for_one_waits_for_the_flush_too(world: FanoutWorld) -> None:
    world.fanout.begin()
    for packet in ("4a", "4b", "4c"):
        world.send(3, packet)
    assert world.texts == [[]] * 6
    world.fanout.flush()
    assert world.texts == [[], [], [], ["4a", "4b", "4c"], [], []]


def test_a_chunk_that_sockets_take_in_part_goes_on_where_it_stopped(world: FanoutWorld) -> None:
    packets = ["4" + letter * 20_000 for letter in "abc"]
    world.fanout.begin()
    world.emit(world.everybody, *packets)
    world.fanout.flush()
    streams = [b""] * 6
    chunk = b"".join(frame(packet.encode()) for packet in packets)

    def read() -> bool:
        for number, peer in enumerate(world.peers):
            streams[number] += take_all(peer.sock)
        return min(map(len, streams)) >= len(chunk)

    until(read, world.rig.engine.reactor)
    assert streams == [chunk] * 6


def test_what_is_emitted_in_pauses_joins_the_next_pass_in_one_write(world: FanoutWorld) -> None:
    writes = _count_writes(world)
    world.in_pauses += [
        lambda: world.emit(world.everybody, "4b", "4c"),
        lambda: world.emit(world.everybody, "4d"),
    ]
    world.emit(world.everybody, "4a")
    assert world.texts == [["4a", "4b", "4c", "4d"]] * 6
    assert writes == [2] * 6
    assert world.is_idle


def test_others_are_served_in_a_pause_and_nobody_gets_things_out_of_order(world: FanoutWorld) -> None:
    others = world.group(0, 5)
    world.in_pauses += [lambda: world.emit(others, "4b"), lambda: world.emit(world.everybody, "4c")]
    world.emit(world.everybody, "4a")
    assert world.texts == [["4a", "4b", "4c"], *[["4a", "4c"]] * 4, ["4a", "4b", "4c"]]
    assert world.is_idle


def test_a_packet_for_one_that_no_pass_is_for_is_written_in_the_pause(world: FanoutWorld) -> None:
    seen: list[list[str]] = []

    def send() -> None:
        world.send(5, "4single")
        seen.append(world.peers[5].texts)

    world.in_pauses.append(send)
    world.emit(world.group(0, 1, 2, 3, 4), "4a")
    assert seen == [["4single"]]
    assert world.texts == [["4a"]] * 5 + [[]]


@pytest.mark.parametrize("number", [0, 5])
def test_a_packet_for_one_of_the_pass_comes_after_it(world: FanoutWorld, number: int) -> None:
    world.in_pauses += [
        lambda: world.emit(world.everybody, "4b"),
        lambda: world.send(number, "4c"),
        lambda: world.emit(world.everybody, "4d"),
    ]
    world.emit(world.everybody, "4a")
    plain = ["4a", "4b", "4d"]
    assert world.texts == [["4a", "4b", "4c", "4d"] if each == number else plain for each in range(6)]
    assert world.is_idle


def test_whoever_finds_a_flush_under_way_leaves_it_what_was_gathered(world: FanoutWorld) -> None:
    def gather() -> None:
        world.fanout.begin()
        world.emit(world.group(4, 5), "4b")
        world.send(0, "4c")
        world.fanout.flush()

    world.in_pauses.append(gather)
    world.emit(world.everybody, "4a")
    assert world.texts == [["4a", "4c"], ["4a"], ["4a"], ["4a"], ["4a", "4b"], ["4a", "4b"]]
    assert world.is_idle


def test_connections_that_fail_in_mid_sweep_are_ended_and_the_others_get_all(world: FanoutWorld) -> None:
    for number in (0, 3):
        reset(world.peers[number].sock)
    world.in_pauses.append(lambda: reset(world.peers[5].sock))
    world.emit(world.everybody, "4a")
    assert [world.peers[number].texts for number in (1, 2, 4)] == [["4a"]] * 3
    assert [connection.closed for connection in world.connections] == [True, False, False, True, False, True]
    assert world.rig.server.reasons == [world.rig.server.reason.TRANSPORT_CLOSE] * 3
    assert world.is_idle


def test_a_connection_that_is_ended_in_a_pause_gets_no_more_and_spoils_nothing(world: FanoutWorld) -> None:
    def end() -> None:
        world.connections[5].end("x", code=1000)
        world.connections[0].end("x", code=1000)

    world.in_pauses.append(end)
    world.emit(world.everybody, "4a")
    assert world.texts == [["4a"]] * 5 + [[]]


def test_who_is_told_of_an_end_in_mid_sweep_may_emit(world: FanoutWorld) -> None:
    def leave(sid: str, _reason: str) -> None:
        world.emit(world.group(0, 1, 4, 5), f"4left {sid}")
        world.send(5, "4sorry")

    world.rig.server.tell_disconnected = leave  # type: ignore[method-assign,assignment]
    reset(world.peers[2].sock)
    world.emit(world.everybody, "4a", "4b")
    left = f"4left {world.connections[2].sid}"
    got = [world.peers[number].texts for number in (0, 1, 3, 4, 5)]
    assert got == [["4a", left, "4b"]] * 2 + [["4a", "4b"], ["4a", left, "4b"], ["4a", left, "4sorry", "4b"]]
    assert world.is_idle


def test_one_whose_socket_is_full_gets_it_when_there_is_room_and_holds_up_nobody(world: FanoutWorld) -> None:
    filled = world.fill(2)
    world.emit(world.everybody, "4a")
    world.emit(world.group(2, 3), "4b")
    assert [world.peers[number].texts for number in (0, 1, 3, 4, 5)] == [["4a"], ["4a"], ["4a", "4b"], ["4a"], ["4a"]]
    world.send(2, "4c")
    stream = b""

    def read() -> int:
        nonlocal stream
        stream += take_all(world.peers[2].sock)
        return len(stream) - filled

    wanted = frame(b"4a") + frame(b"4b") + frame(b"4c")
    until(lambda: read() >= len(wanted), world.rig.engine.reactor)
    assert stream[filled:] == wanted
    assert world.is_idle


def test_one_that_polls_gets_the_packets_themselves(world: FanoutWorld) -> None:
    polling = world.rig.polling()
    both = Recipients([polling, world.connections[0]])
    world.fanout.begin()
    world.emit(both, "4a", "4b")
    world.fanout.flush()
    world.fanout.send(polling, b"4c")
    assert polling.poll() == [b"4a", b"4b", b"4c"]
    assert world.peers[0].texts == ["4a", "4b"]


class _Broken:
    """A connection with a bug."""

    websocket: Websocket | None = None
    closed = False

    def put(self, _chunk: bytes, _packets: list[bytes]) -> Websocket | None:
        raise RuntimeError("a bug")


def test_a_bug_in_one_connection_costs_the_others_nothing(world: FanoutWorld) -> None:
    members: list[Recipient] = [*world.connections]
    members[1:1] = [_Broken(), _Broken()]
    everybody = Recipients(members)
    world.in_pauses.append(lambda: world.emit(everybody, "4b"))
    world.emit(everybody, "4a")
    assert world.texts == [["4a", "4b"]] * 6
    assert world.is_idle


def test_after_a_pause_that_failed_it_goes_on_and_nothing_is_lost(world: FanoutWorld) -> None:
    def fail() -> None:
        world.emit(world.everybody, "4b")
        raise KeyboardInterrupt

    world.in_pauses.append(fail)
    with pytest.raises(KeyboardInterrupt):
        world.emit(world.everybody, "4a")
    world.emit(world.everybody, "4c")
    assert world.texts == [["4a", "4b", "4c"]] * 6
    assert world.is_idle


def test_to_flush_with_nothing_gathered_or_to_emit_to_nobody_does_nothing(world: FanoutWorld) -> None:
    world.fanout.flush()
    world.emit(Recipients([]), "4a")
    assert world.texts == [[]] * 6
    assert world.is_idle


def _count_writes(world: FanoutWorld) -> list[int]:
    """Count the system calls that write to each connection from now on."""
    writes = [0] * len(world.connections)

    def counting(number: int, websocket: Websocket) -> None:
        sock = websocket.sock

        class Counted:
            def send(self, data: bytes) -> int:
                writes[number] += 1
                return sock.send(data)

            def __getattr__(self, name: str) -> object:
                return getattr(sock, name)

        websocket.sock = Counted()  # type: ignore[assignment]

    for number, connection in enumerate(world.connections):
        assert connection.websocket is not None
        counting(number, connection.websocket)
    return writes


def test_it_is_full_when_a_quarter_of_a_mebibyte_is_gathered_and_empty_again_with_the_next_begin(
    world: FanoutWorld,
) -> None:
    world.fanout.begin()
    world.emit(world.everybody, "4" + "x" * 131_071)
    world.send(0, "4" + "x" * 131_070)
    assert not world.fanout.full
    world.send(1, "4")
    assert world.fanout.full
    world.fanout.flush()
    world.fanout.begin()
    assert not world.fanout.full
    world.fanout.flush()
