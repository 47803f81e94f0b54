"""An upgrade from polling to a websocket: nothing is lost or out of order, and polling goes on when it fails."""

from collections.abc import Callable, Iterator

import pytest

from cloud_node.wire.connection import NOOP, Connection
from tests.fakes.client_frames import frame
from tests.fakes.rig import Rig, answer_of, begin_poll
from tests.fakes.wire import Peer, reset, until


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def _probe(rig: Rig) -> tuple[Connection, Peer]:
    """Give a connection that polls, and a websocket that has sent its probe for it."""
    connection = rig.polling()
    peer = rig.upgrading(connection)
    peer.say("2probe")
    rig.until(lambda: connection.upgrade is not None and connection.upgrade.probed)
    assert peer.texts == ["3probe"]
    return connection, peer


def _polls_on(rig: Rig, connection: Connection) -> bool:
    rig.engine.fanout.send(connection, b"4still here")
    return connection.poll() == [b"4still here"] and connection.websocket is None


def test_a_probe_is_answered_and_the_poll_that_waits_is_let_go(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    peer = rig.upgrading(connection)
    peer.say("2probe")
    rig.until(lambda: connection.upgrade is not None and connection.upgrade.probed)
    assert answer_of(poll) == [NOOP]
    assert peer.texts == ["3probe"]
    assert connection.poll() == [NOOP], "a poll in the middle of an upgrade does not wait"


def test_until_the_probe_polling_goes_on(rig: Rig) -> None:
    connection = rig.polling()
    rig.upgrading(connection)
    assert _polls_on(rig, connection)
    assert connection.would_wait


def test_what_is_sent_after_the_probe_waits_for_the_websocket_and_comes_first_on_it(rig: Rig) -> None:
    connection, peer = _probe(rig)
    for packet in (b"4one", b"bAQI=", b"4three"):
        rig.engine.fanout.send(connection, packet)
    assert connection.poll() == [NOOP]
    peer.say("5")
    rig.until(lambda: connection.websocket is not None)
    rig.engine.fanout.send(connection, b"4four")
    assert peer.heard == [(1, b"4one"), (2, b"\1\2"), (1, b"4three"), (1, b"4four")]
    assert (connection.packets, connection.waiting, connection.upgrade) == ([], 0, None)


def test_what_waited_before_the_probe_and_was_not_fetched_comes_on_the_websocket_too(rig: Rig) -> None:
    connection = rig.polling()
    rig.engine.fanout.send(connection, b"4zero")
    peer = rig.upgrading(connection)
    peer.say("2probe", "5")
    rig.until(lambda: connection.websocket is not None)
    assert peer.texts == ["3probe", "4zero"]


def test_a_packet_whose_poll_has_not_left_yet_when_the_probe_comes_is_not_lost(rig: Rig) -> None:
    connection = rig.polling()
    poll = begin_poll(connection)
    peer = rig.upgrading(connection)
    rig.engine.fanout.send(connection, b"4on the way")
    peer.say("2probe")
    rig.until(lambda: connection.upgrade is not None and connection.upgrade.probed)
    assert answer_of(poll) == [NOOP]
    peer.say("5")
    rig.until(lambda: connection.websocket is not None)
    assert peer.texts == ["3probe", "4on the way"]


def test_messages_right_behind_the_upgrade_are_the_connections(rig: Rig) -> None:
    connection, peer = _probe(rig)
    peer.say("5", "4hello", "3")
    rig.until(lambda: rig.server.messages)
    assert rig.server.messages == ["hello"]
    peer.close()
    rig.until(lambda: connection.closed)
    assert rig.server.reasons == [rig.server.reason.TRANSPORT_CLOSE]


def test_after_the_upgrade_its_deadline_is_over(rig: Rig) -> None:
    connection, peer = _probe(rig)
    peer.say("5")
    rig.until(lambda: connection.websocket is not None)
    rig.pass_s(12)
    assert not connection.closed
    assert peer.heard == []


def test_a_posted_message_that_is_still_handled_comes_before_those_on_the_websocket(rig: Rig) -> None:
    connection, peer = _probe(rig)

    def handle(_sid: str, data: str | bytes) -> None:
        if data == "posted":
            peer.say("5", "4first", "4second")
            until(lambda: len(connection._inbox or ()) == 2, rig.engine.reactor)
            assert rig.server.messages == ["posted"]

    rig.server.on_message = handle
    connection.received_all(["4posted"])
    assert rig.server.messages == ["posted", "first", "second"]


@pytest.mark.parametrize("first", ["5", "4hello", "3probe", "2", "2probe2", "2Probe", "1", ""])
def test_what_does_not_begin_with_a_probe_is_closed_and_polling_goes_on(rig: Rig, first: str) -> None:
    connection = rig.polling()
    peer = rig.upgrading(connection)
    peer.say(first)
    rig.until(lambda: connection.upgrade is None)
    assert peer.heard == [(8, (1002).to_bytes(2, "big") + b"not upgraded")]
    assert _polls_on(rig, connection)
    assert rig.server.told == [("connected", connection.sid, None)]


@pytest.mark.parametrize("second", ["2probe", "4hello", "3", ""])
def test_after_the_probe_anything_but_an_upgrade_is_closed_and_polling_goes_on(rig: Rig, second: str) -> None:
    connection, peer = _probe(rig)
    rig.engine.fanout.send(connection, b"4waited")
    peer.say(second)
    rig.until(lambda: connection.upgrade is None)
    assert peer.heard == [(8, (1002).to_bytes(2, "big") + b"not upgraded")]
    assert connection.poll() == [b"4waited"]
    assert _polls_on(rig, connection)


def _close(peer: Peer) -> None:
    peer.close()


def _go(peer: Peer) -> None:
    peer.sock.close()


def _break(peer: Peer) -> None:
    peer.sock.sendall(frame(1, b"x", mask=None))


@pytest.mark.parametrize("end", [_close, _go, _break, lambda peer: reset(peer.sock)])
@pytest.mark.parametrize("probed", [False, True])
def test_when_the_websocket_ends_polling_goes_on(rig: Rig, end: Callable[[Peer], None], probed: bool) -> None:
    if probed:
        connection, peer = _probe(rig)
    else:
        connection = rig.polling()
        peer = rig.upgrading(connection)
    end(peer)
    rig.until(lambda: connection.upgrade is None)
    assert _polls_on(rig, connection)
    assert not connection.closed


def test_one_that_takes_too_long_is_closed_and_another_may_try(rig: Rig) -> None:
    connection, peer = _probe(rig)
    rig.pass_s(9.5)
    assert connection.upgrade is not None
    rig.pass_s(1)
    assert connection.upgrade is None
    assert [opcode for opcode, _ in peer.heard] == [8]
    again = rig.upgrading(connection)
    again.say("2probe", "5")
    rig.until(lambda: connection.websocket is not None)
    rig.engine.fanout.send(connection, b"4a")
    assert again.texts == ["3probe", "4a"]


def test_when_the_connection_ends_its_upgrade_does(rig: Rig) -> None:
    connection, peer = _probe(rig)
    connection.end(rig.server.reason.SERVER_DISCONNECT)
    assert [opcode for opcode, _ in peer.heard] == [8]
    assert connection.upgrade is None
    assert rig.engine.find(connection.sid) is connection, "it may still fetch its last word"
    peer.say("5")
    rig.turn()
    assert connection.websocket is None


def test_too_much_that_waits_for_an_upgrade_ends_the_connection(rig: Rig) -> None:
    connection, peer = _probe(rig)
    for _ in range(200):
        rig.engine.fanout.send(connection, b"4" + bytes(1000))
    assert (rig.slow, connection.closed) == (1, True)
    assert [opcode for opcode, _ in peer.heard] == [8]


def test_the_node_keeps_nothing_of_an_upgrade_that_failed(rig: Rig) -> None:
    connection, peer = _probe(rig)
    peer.sock.close()
    rig.until(lambda: connection.upgrade is None)
    assert len(rig.engine.reactor) == 0
