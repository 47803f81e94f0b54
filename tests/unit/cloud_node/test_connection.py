"""An Engine.IO connection: what waits for a poll, what came and is handled in order, and its heartbeat."""

import json
from collections.abc import Iterator

import pytest
from engineio import packet as engineio_packet

from cloud_node.wire.connection import CLOSE, NOOP, PING, Overlap
from cloud_node.wire.recipients import Recipients
from tests.fakes.rig import Rig, answer_of, begin_poll
from tests.fakes.wire import Peer, until


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


# What goes out


def test_a_handshake_says_what_the_protocol_wants(rig: Rig) -> None:
    connection = rig.engine.open_polling()
    (packet,) = connection.poll()
    assert packet[:1] == b"0"
    assert json.loads(packet[1:]) == {
        "sid": connection.sid,
        "upgrades": ["websocket"],
        "pingInterval": 25_000,
        "pingTimeout": 20_000,
        "maxPayload": 10_000,
    }
    assert rig.server.told == [("connected", connection.sid, None)]
    assert rig.engine.find(connection.sid) is connection


def test_on_a_websocket_the_handshake_offers_no_upgrade(rig: Rig) -> None:
    server, client = rig.pair()
    rig.engine.open_websocket(server, "dGhlIHNhbXBsZSBub25jZQ==")
    head = rig.read_head(client)
    assert b"101 Switching Protocols" in head
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    (text,) = Peer(client).texts
    assert json.loads(text[1:])["upgrades"] == []


def test_what_is_sent_between_polls_waits_in_order_for_the_next(rig: Rig) -> None:
    connection = rig.polling()
    connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, "one"))
    connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, b"\1\2"))
    rig.engine.fanout.emit(Recipients([connection, rig.polling()]), b"4two")
    assert connection.poll() == [b"4one", b"bAQI=", b"4two"]
    assert connection.waiting == 0


def test_on_a_websocket_text_and_bytes_are_frames_of_their_own(rig: Rig) -> None:
    connection, peer = rig.websocket()
    connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, "one"))
    connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, b"\1\2"))
    assert peer.heard == [(1, b"4one"), (2, b"\1\2")]


def test_a_poll_waits_until_something_is_sent(rig: Rig) -> None:
    connection = rig.polling()
    assert connection.would_wait
    poll = begin_poll(connection)
    assert not connection.would_wait
    rig.engine.fanout.send(connection, b"4a")
    rig.engine.fanout.send(connection, b"4b")
    assert answer_of(poll) == [b"4a", b"4b"]


def test_a_second_poll_while_one_waits_overlaps(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    with pytest.raises(Overlap):
        connection.poll()
    connection.end("x")
    assert answer_of(poll) == [CLOSE]


def test_a_poll_that_is_released_with_nothing_gets_a_noop(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    connection.release()
    connection.release()
    assert answer_of(poll) == [NOOP]
    connection.release()


def test_a_poll_that_is_given_up_lets_the_next_one_wait(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    poll.kill()
    assert connection.would_wait


# What comes in


def test_messages_are_handled_in_order(rig: Rig) -> None:
    connection, peer = rig.websocket()
    peer.say("4one", "4two")
    rig.until(lambda: len(rig.server.messages) == 2)
    connection.received_all(["4three", b"four", "4"])
    assert rig.server.messages == ["one", "two", "three", b"four", ""]


def test_what_comes_while_a_handler_waits_is_handled_after_it(rig: Rig) -> None:
    connection, peer = rig.websocket()
    depth, deepest = 0, 0

    def handle(_sid: str, data: str | bytes) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        if data == "one":
            peer.say("4two", "4three")
            until(lambda: len(connection._inbox or ()) == 2, rig.engine.reactor)
            assert rig.server.messages == ["one"]
        depth -= 1

    rig.server.on_message = handle
    peer.say("4one")
    rig.until(lambda: len(rig.server.messages) == 3)
    assert rig.server.messages == ["one", "two", "three"]
    assert deepest == 1


def test_past_a_full_inbox_nothing_is_read_until_all_is_handled(rig: Rig) -> None:
    connection, peer = rig.websocket()
    with rig.held_handlers():
        peer.say(*[f"4{number}" for number in range(65)])
        rig.until(lambda: len(connection._inbox or ()) == 65)
        peer.say("4last")
        for _ in range(5):
            rig.turn()
        assert len(connection._inbox or ()) == 65
    rig.until(lambda: len(rig.server.messages) == 66)
    assert rig.server.messages == [*map(str, range(65)), "last"]


@pytest.mark.parametrize("packet", ["2", "2probe", "0{}", "5", "6", "7", "x", "", "b", "é"])
def test_a_packet_that_a_client_may_not_send_ends_it(rig: Rig, packet: str) -> None:
    connection, peer = rig.websocket()
    peer.say("4good", packet, "4after")
    rig.until(lambda: connection.closed)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    assert peer.heard == [(8, (1002).to_bytes(2, "big") + b"malformed packet")]
    rig.turn()
    assert "after" not in rig.server.messages


# Heartbeat


def test_a_ping_comes_after_the_interval_and_again_after_each_pong(rig: Rig) -> None:
    _, peer = rig.websocket()
    for _ in range(3):
        rig.pass_s(24.5)
        assert peer.texts == []
        rig.pass_s(1)
        assert peer.texts == ["2"]
        rig.pass_s(10)
        peer.say("3")
        rig.turn()
    assert rig.server.reasons == []


def test_without_a_pong_it_ends_after_the_timeout_and_not_before(rig: Rig) -> None:
    connection, peer = rig.websocket()
    rig.pass_s(25.5)
    rig.pass_s(19.5)
    assert not connection.closed
    rig.pass_s(1)
    assert rig.server.reasons == [rig.server.reason.PING_TIMEOUT]
    assert peer.heard == [(1, PING), (8, (1000).to_bytes(2, "big") + b"ping timeout")]


def test_a_pong_that_nobody_asked_for_moves_nothing(rig: Rig) -> None:
    _, peer = rig.websocket()
    for _ in range(3):
        rig.pass_s(8)
        peer.say("3")
        rig.turn()
    rig.pass_s(1.5)
    assert peer.texts == ["2"]


def test_a_ping_answers_a_poll_and_a_pong_may_be_posted(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    rig.pass_s(25.5)
    assert answer_of(poll) == [PING]
    connection.received_all(["3"])
    rig.pass_s(24)
    assert connection.packets == []
    rig.pass_s(1.5)
    assert connection.poll() == [PING]
    rig.pass_s(20.5)
    assert rig.server.reasons == [rig.server.reason.PING_TIMEOUT]


def test_a_pong_counts_also_while_a_handler_waits(rig: Rig) -> None:
    connection, peer = rig.websocket()
    rig.pass_s(25.5)
    with rig.held_handlers():
        peer.say("4slow", "3")
        rig.until(lambda: connection._inbox)
        rig.pass_s(20.5)
    assert not connection.closed


def test_whoever_is_not_read_while_a_handler_waits_is_not_taken_for_dead_until_it_is_read_again(rig: Rig) -> None:
    connection, peer = rig.websocket()
    rig.pass_s(25.5)
    with rig.held_handlers():
        peer.say(*["4" + "x" * 200] * 200, "3")
        rig.until(lambda: connection._inbox and len(connection._inbox) > 64)
        rig.pass_s(20.5)
        rig.pass_s(20.5)
        assert not connection.closed
    rig.pass_s(20.5)
    assert not connection.closed, "the pong behind it all was read"
    rig.pass_s(30)
    rig.pass_s(20.5)
    assert rig.server.reasons == [rig.server.reason.PING_TIMEOUT]


def test_many_are_pinged_at_once_by_one_pass(rig: Rig) -> None:
    peers = [rig.websocket()[1] for _ in range(50)]
    polling = rig.polling()
    rig.pass_s(25.5)
    assert [peer.texts for peer in peers] == [["2"]] * 50
    assert polling.poll() == [PING]


def test_whoever_joins_no_namespace_is_closed_at_the_first_ping(rig: Rig) -> None:
    connection, peer = rig.websocket()
    rig.server.joined = False
    rig.pass_s(24.5)
    assert not connection.closed
    rig.pass_s(1)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_ERROR]
    assert peer.heard == [(8, (1008).to_bytes(2, "big") + b"no CONNECT came")]
