"""After a thousand connections, ended in every way there is, nothing of any of them is left."""

import gc
from collections.abc import Callable, Iterator

import pytest

from cloud_node.hub import Session
from cloud_node.wire.connection import Connection
from cloud_node.wire.outbox import Outbox
from cloud_node.wire.recipients import Recipients
from cloud_node.wire.upgrade import Upgrade
from cloud_node.wire.websocket import Websocket
from tests.fakes.client_frames import frame
from tests.fakes.rig import begin_poll
from tests.fakes.stack import Stack, stack
from tests.fakes.wire import Peer, fill, reset

_ROUNDS = 48


@pytest.fixture
def node() -> Iterator[Stack]:
    with stack(limit=20_000) as it:
        yield it


def _alive() -> list[str]:
    gc.collect()
    kinds = (Connection, Websocket, Upgrade, Outbox, Session)
    return [type(it).__name__ for it in gc.get_objects() if isinstance(it, kinds)]


# Each of these connects and ends one connection.


def _client_closes(node: Stack) -> None:
    _, _, peer = node.connect()
    peer.close()


def _client_says_goodbye_and_goes(node: Stack) -> None:
    _, _, peer = node.connect()
    peer.say("41", "1")


def _client_vanishes(node: Stack) -> None:
    node.connect()


def _client_resets(node: Stack) -> None:
    _, _, peer = node.connect()
    reset(peer.sock)


def _client_resets_behind_its_connect(node: Stack) -> None:
    connection, peer = node.rig.websocket()
    with node.rig.held_handlers():
        peer.say("40")
        node.rig.until(lambda: connection._inbox)
        reset(peer.sock)


def _client_breaks_a_frame(node: Stack) -> None:
    _, _, peer = node.connect()
    peer.sock.sendall(frame(1, b"x", mask=None))


def _client_sends_nonsense(node: Stack) -> None:
    _, _, peer = node.connect()
    peer.say('451-["e",{"_placeholder":true,"num":0}]', '42["e"]')


def _client_never_connects(node: Stack) -> None:
    node.rig.websocket()


def _node_drops(node: Stack) -> None:
    sid, _, _ = node.connect()
    session = node.hub.get(sid)
    assert session is not None
    node.transport.send(session, "a", 1)
    node.transport.drop(session)


def _node_kicks(node: Stack) -> None:
    sid, _, _ = node.connect()
    node.sio.disconnect(sid)


def _client_is_too_slow(node: Stack) -> None:
    sid, connection, _ = node.connect()
    session = node.hub.get(sid)
    assert session is not None
    assert connection.websocket is not None
    fill(connection.websocket.sock)
    others = Recipients([connection, node.rig.polling()])
    for _ in range(200):
        node.transport.emit(others, "a", "x" * 1000)
    assert connection.closed


def _no_pong_comes(node: Stack) -> None:
    node.connect()  # the others' time goes by


def _client_asks_for_an_ack_and_goes(node: Stack) -> None:
    sid, _, peer = node.connect()
    node.sio.emit("a", 1, to=sid, callback=print)
    peer.sock.close()


def _polling(node: Stack) -> Connection:
    connection = node.rig.polling()
    connection.received_all(["40"])
    connection.poll()
    return connection


def _polling_client_says_goodbye(node: Stack) -> None:
    _polling(node).received_all(["1"])


def _polling_client_vanishes(node: Stack) -> None:
    _polling(node)


def _polling_client_overlaps(node: Stack) -> None:
    connection = _polling(node)
    poll = begin_poll(connection)
    connection.end("x")
    poll.wait()


def _polling_client_is_dropped(node: Stack) -> None:
    _polling(node).end(node.sio.reason.SERVER_DISCONNECT)


def _polling_client_is_too_slow(node: Stack) -> None:
    connection = _polling(node)
    for _ in range(30):
        node.engine.fanout.send(connection, b"4" + b"x" * 1000)
    assert connection.closed


def _upgrading(node: Stack, *packets: str) -> tuple[Connection, Peer]:
    connection = _polling(node)
    peer = node.rig.upgrading(connection)
    peer.say(*packets)
    node.rig.turn()
    return connection, peer


def _upgraded_client_goes(node: Stack) -> None:
    _, peer = _upgrading(node, "2probe", "5")
    peer.sock.close()


def _upgrade_fails(node: Stack) -> None:
    _upgrading(node, "2probe", "x")


def _upgrade_takes_too_long(node: Stack) -> None:
    _upgrading(node, "2probe")


def _upgrading_client_goes_and_is_dropped(node: Stack) -> None:
    connection, peer = _upgrading(node, "2probe")
    connection.end(node.sio.reason.SERVER_DISCONNECT)
    reset(peer.sock)


_KINDS: list[Callable[[Stack], None]] = [
    _client_closes,
    _client_says_goodbye_and_goes,
    _client_vanishes,
    _client_resets,
    _client_resets_behind_its_connect,
    _client_breaks_a_frame,
    _client_sends_nonsense,
    _client_never_connects,
    _node_drops,
    _node_kicks,
    _client_is_too_slow,
    _no_pong_comes,
    _client_asks_for_an_ack_and_goes,
    _polling_client_says_goodbye,
    _polling_client_vanishes,
    _polling_client_overlaps,
    _polling_client_is_dropped,
    _polling_client_is_too_slow,
    _upgraded_client_goes,
    _upgrade_fails,
    _upgrade_takes_too_long,
    _upgrading_client_goes_and_is_dropped,
]


def _disturb(node: Stack) -> None:
    """Emit to everybody in the middle of things."""
    everybody = Recipients([session.connection for session in node.hub])
    with node.transport.batch():
        node.transport.emit(everybody, "all", 1)
        node.transport.emit(everybody, "all", 2)


def test_nothing_is_left_of_a_thousand_connections(node: Stack) -> None:
    before = _alive()
    count = 0
    for number in range(_ROUNDS):
        for run in _KINDS:
            run(node)
            count += 1
            if count % 7 == 0:
                node.rig.turn()
        _disturb(node)
        node.rig.pass_s(30 if number % 3 == 0 else 1)
        node.rig.hang_up()
    assert count >= 1000
    node.rig.pass_s(120)
    node.rig.turn()
    assert node.leftovers == {}
    node.rig._sockets.clear()
    assert _alive() == before
    assert [what for what, _, _ in node.told].count("connect") == len(node.reasons)
