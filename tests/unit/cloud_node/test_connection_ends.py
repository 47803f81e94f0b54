"""How an Engine.IO connection ends: what its client is told, what still counts, and that it is told once."""

from collections.abc import Iterator

import pytest

from cloud_node.wire.connection import CLOSE, NOOP, Connection
from cloud_node.wire.wheel import NEVER
from tests.fakes.client_frames import frame
from tests.fakes.rig import Rig, answer_of, begin_poll
from tests.fakes.wire import fill, reset, until


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def _is_forgotten(rig: Rig, connection: Connection) -> bool:
    return (
        connection.closed
        and connection.slot == NEVER
        and connection.websocket is None
        and connection.upgrade is None
        and rig.engine.find(connection.sid) is None
        and connection.sid not in rig.engine.connections
    )


# By its client


def test_what_a_client_said_before_it_left_still_counts(rig: Rig) -> None:
    connection, peer = rig.websocket()
    peer.sock.sendall(frame(1, b"4one") + frame(1, b"4two") + frame(8, b"\x03\xe9"))
    rig.until(lambda: connection.closed)
    assert rig.server.told[1:] == [
        ("message", connection.sid, "one"),
        ("message", connection.sid, "two"),
        ("disconnected", connection.sid, rig.server.reason.TRANSPORT_CLOSE),
    ]
    assert peer.heard == [(8, b"\x03\xe9")]
    assert _is_forgotten(rig, connection)


def test_while_what_it_said_is_handled_nothing_is_sent_to_who_has_left(rig: Rig) -> None:
    connection, peer = rig.websocket()
    with rig.held_handlers():
        peer.sock.sendall(frame(1, b"4one") + frame(8))
        rig.until(lambda: connection.websocket is None)
        rig.engine.fanout.send(connection, b"4late")
        assert connection.packets == []
        assert not connection.closed
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_CLOSE]
    assert peer.heard == [(8, b"\x03\xe8")]


def test_a_close_packet_ends_it_after_what_came_before(rig: Rig) -> None:
    connection, peer = rig.websocket()
    peer.say("4one", "1")
    rig.until(lambda: connection.closed)
    assert rig.server.messages == ["one"]
    assert rig.server.reasons == [rig.server.reason.CLIENT_DISCONNECT]
    assert _is_forgotten(rig, connection)


def test_a_posted_close_packet_ends_it_and_answers_the_poll_that_waits(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    connection.received_all(["4one", "1"])
    assert answer_of(poll) == [NOOP]
    assert rig.server.messages == ["one"]
    assert rig.server.reasons == [rig.server.reason.CLIENT_DISCONNECT]
    assert _is_forgotten(rig, connection)


def test_a_client_that_is_reset_has_closed_its_transport(rig: Rig) -> None:
    connection, peer = rig.websocket()
    reset(peer.sock)
    rig.until(lambda: connection.closed)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_CLOSE]
    assert _is_forgotten(rig, connection)


def test_a_malformed_frame_is_an_error_of_the_transport(rig: Rig) -> None:
    connection, peer = rig.websocket()
    peer.sock.sendall(frame(1, b"x", mask=None))
    rig.until(lambda: connection.closed)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    assert _is_forgotten(rig, connection)


def test_what_it_said_is_dropped_when_it_ends_while_a_handler_waits(rig: Rig) -> None:
    connection, peer = rig.websocket()

    def handle(_sid: str, data: str | bytes) -> None:
        if data == "one":
            reset(peer.sock)
            until(lambda: connection.closed, rig.engine.reactor)

    rig.server.on_message = handle
    peer.say("4one", "4two")
    rig.until(lambda: connection.closed)
    rig.turn()
    assert rig.server.messages == ["one"]
    assert connection._inbox is None


# From here


def test_an_end_is_told_once_with_its_reason_and_the_client_learns_the_code(rig: Rig) -> None:
    connection, peer = rig.websocket()
    for _ in range(2):
        connection.end(rig.server.reason.SERVER_DISCONNECT, code=1012, said="stopping")
    connection.end("another", code=1000)
    assert rig.server.reasons == [rig.server.reason.SERVER_DISCONNECT]
    assert peer.heard == [(8, (1012).to_bytes(2, "big") + b"stopping")]
    assert _is_forgotten(rig, connection)


def test_after_the_end_nothing_is_sent(rig: Rig) -> None:
    connection, peer = rig.websocket()
    polling = rig.polling()
    for each in (connection, polling):
        each.end("x")
        rig.engine.fanout.send(each, b"4late")
    assert [opcode for opcode, _ in peer.heard] == [8]
    assert polling.packets == [CLOSE]


def test_python_engineios_server_closes_it_without_a_wait(rig: Rig) -> None:
    first, second = rig.polling(), rig.polling()
    first.close(wait=True, abort=False, reason=rig.server.reason.TRANSPORT_ERROR)
    second.close()
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR, rig.server.reason.SERVER_DISCONNECT]


def test_whoever_is_told_of_the_end_finds_it_closed_and_may_send_or_end_again(rig: Rig) -> None:
    connection, peer = rig.websocket()

    def told(_sid: str, reason: str) -> None:
        assert connection.closed
        rig.engine.fanout.send(connection, b"4bye")
        connection.end(reason)

    rig.server.tell_disconnected = told  # type: ignore[method-assign, assignment]
    connection.end("x")
    assert [opcode for opcode, _ in peer.heard] == [8]


def test_an_ended_one_that_does_not_poll_now_keeps_what_waits_for_its_next_poll(rig: Rig) -> None:
    connection = rig.polling()
    rig.engine.fanout.send(connection, b"4last")
    connection.end(rig.server.reason.SERVER_DISCONNECT)
    assert rig.engine.find(connection.sid) is connection
    assert connection.sid not in rig.engine.connections
    assert connection.poll() == [b"4last", NOOP]
    rig.engine.has_left(connection)
    assert _is_forgotten(rig, connection)


def test_it_is_kept_for_no_longer_than_the_ping_timeout(rig: Rig) -> None:
    connection = rig.polling()
    connection.end(rig.server.reason.SERVER_DISCONNECT)
    rig.pass_s(19.5)
    assert rig.engine.find(connection.sid) is connection
    rig.pass_s(1)
    assert _is_forgotten(rig, connection)
    assert rig.server.reasons == [rig.server.reason.SERVER_DISCONNECT]


def test_one_whose_poll_waits_is_told_in_it_and_not_kept(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    connection.end(rig.server.reason.SERVER_DISCONNECT)
    assert answer_of(poll) == [NOOP]
    assert _is_forgotten(rig, connection)


def test_nothing_in_a_body_counts_after_the_packet_that_ended_it(rig: Rig) -> None:
    connection = rig.polling()
    rig.pass_s(25.5)
    connection.received_all(["4good", "x", "3", "4late", "1"])
    assert "late" not in rig.server.messages
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    assert _is_forgotten(rig, connection)


# A client that is too slow


def test_a_websocket_too_far_behind_is_ended_counted_once_and_told_why(rig: Rig) -> None:
    connection, peer = rig.websocket()
    assert connection.websocket is not None
    zeros = fill(connection.websocket.sock)
    for _ in range(200):
        rig.engine.fanout.send(connection, b"4" + bytes(1000))
    assert (rig.slow, connection.closed) == (1, True)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    stream = b""
    want = b"too slow: reconnect"

    def read() -> bool:
        nonlocal stream
        stream += peer.sock.recv(65536)
        return stream.endswith(want)

    rig.until(read)
    assert stream[zeros:] == b"\x88\x15" + (1013).to_bytes(2, "big") + want
    assert _is_forgotten(rig, connection)


def test_one_that_does_not_poll_is_ended_past_the_limit_and_its_packets_are_freed(rig: Rig) -> None:
    connection = rig.polling()
    for _ in range(200):
        rig.engine.fanout.send(connection, b"4" + bytes(1000))
    assert (rig.slow, connection.closed) == (1, True)
    assert connection.packets == [CLOSE]
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    assert _is_forgotten(rig, connection)


def test_what_was_fetched_waits_no_more(rig: Rig) -> None:
    connection = rig.polling()
    for _ in range(20):
        for _ in range(90):
            rig.engine.fanout.send(connection, b"4" + bytes(1000))
        assert len(connection.poll()) == 90
    assert rig.slow == 0
