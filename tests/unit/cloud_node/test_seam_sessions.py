"""What seam.py adds to python-socketio: strictness, sessions in two dictionaries, and that every end is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from cloud_node.wire.connection import Connection
from cloud_node.wire.seam import EngineServer, Sessions
from tests.fakes.client_frames import frame
from tests.fakes.stack import Stack, stack
from tests.fakes.wire import Peer, reset


@pytest.fixture
def node() -> Iterator[Stack]:
    with stack() as it:
        yield it


def test_python_socketio_runs_on_our_engine(node: Stack) -> None:
    assert isinstance(node.sio.eio, EngineServer)
    assert isinstance(node.sio.manager, Sessions)
    sid, connection, peer = node.connect()
    assert node.transport.connection_of(sid) is connection
    assert node.ask(peer, '427["hello",1]') == ["437[[1]]"]
    assert node.told == [("connect", sid, None), ("hello", sid, (1,))]


def test_binary_goes_in_and_out(node: Stack) -> None:
    sid, _, peer = node.connect()
    peer.say('451-3["hello",{"_placeholder":true,"num":0}]')
    peer.sock.sendall(frame(2, b"\1\2"))
    heard: list[tuple[int, bytes]] = []

    def read() -> bool:
        heard.extend(peer.heard)
        return len(heard) == 2

    node.rig.until(read)
    assert node.told[-1] == ("hello", sid, (b"\1\2",))
    assert heard == [(1, b'461-3[[{"_placeholder":true,"num":0}]]'), (2, b"\1\2")]


@pytest.mark.parametrize("namespace", ["/admin", "/*", "/socket.io"])
def test_an_unknown_namespace_is_invalid_and_the_session_goes_on(node: Stack, namespace: str) -> None:
    _, _, peer = node.connect()
    assert node.ask(peer, f"40{namespace},") == [f'44{namespace},{{"message":"Invalid namespace"}}']
    assert node.ask(peer, '427["hello"]') == ["437[[]]"]


def test_a_second_connect_is_refused_and_changes_nothing(node: Stack) -> None:
    sid, _, peer = node.connect()
    assert node.ask(peer, '40{"key":"bob"}') == ['44{"message":"Already connected"}']
    assert [what for what, _, _ in node.told] == ["connect"]
    assert node.ask(peer, '427["hello"]') == ["437[[]]"]
    assert node.told[-1][1] == sid


def test_after_a_disconnect_it_may_connect_anew(node: Stack) -> None:
    sid, _, peer = node.connect()
    peer.say("41")
    node.rig.until(lambda: not len(node.hub))
    (answer,) = node.ask(peer, "40")
    assert answer.startswith('40{"sid":"')
    assert sid not in answer
    assert [what for what, _, _ in node.told] == ["connect", "disconnect", "connect"]


def test_a_refused_connect_leaves_nothing_behind_but_its_connection(node: Stack) -> None:
    node.refuses = True
    _, peer = node.rig.websocket()
    (answer,) = node.ask(peer, "40")
    assert answer.startswith("44{")
    assert set(node.leftovers) == {"engine", "reactor", "wheel", "environ"}
    node.refuses = False
    assert node.ask(peer, "40")[0].startswith('40{"sid"')


@pytest.mark.parametrize(
    "packet", ["4", "42", '42["connect"]', "47", "44{}", '42/admin,["e"]', '451-["e"]', '421["e"', "43[]", "4x"]
)
def test_a_malformed_packet_ends_the_connection(node: Stack, packet: str) -> None:
    sid, connection, peer = node.connect()
    peer.say(packet, '42["after"]')
    node.rig.until(lambda: connection.closed)
    node.rig.turn()
    assert peer.heard == [(8, (1002).to_bytes(2, "big") + b"malformed packet")]
    assert node.told[1:] == [("disconnect", sid, node.sio.reason.TRANSPORT_ERROR)]
    assert not node.leftovers.keys() - {"reactor", "wheel"}, "but for the socket, which waits for its client"


@pytest.mark.parametrize("before", ['42["hello"]', "41", "430[]", '451-["e",{"_placeholder":true,"num":0}]'])
def test_before_a_connect_nothing_else_may_come(node: Stack, before: str) -> None:
    connection, peer = node.rig.websocket()
    peer.say(before)
    node.rig.until(lambda: connection.closed)
    assert node.told == []


@pytest.mark.parametrize("data", [frame(2, b"unasked"), frame(2, b"")])
def test_an_attachment_that_nobody_announced_ends_the_connection(node: Stack, data: bytes) -> None:
    _, connection, peer = node.connect()
    peer.sock.sendall(data)
    node.rig.until(lambda: connection.closed)


@pytest.mark.parametrize("packet", ['42["e"]', "40", "41", "4"])
def test_text_where_an_attachment_is_due_ends_the_connection(node: Stack, packet: str) -> None:
    _, connection, peer = node.connect()
    peer.say('451-["e",{"_placeholder":true,"num":0}]', packet)
    node.rig.until(lambda: connection.closed)
    assert [what for what, _, _ in node.told] == ["connect", "disconnect"]
    assert not node.leftovers.keys() - {"reactor", "wheel"}


def test_an_attachment_that_is_due_is_forgotten_with_its_connection_also_after_a_kick(node: Stack) -> None:
    sid, connection, peer = node.connect()
    peer.say('451-["e",{"_placeholder":true,"num":0}]')
    node.rig.until(lambda: connection.sid in node.sio._binary_packet)
    node.sio.disconnect(sid)
    connection.end("x")
    assert not node.leftovers.keys() - {"reactor", "wheel"}


# Every end is told, once


def _close(_node: Stack, _sid: str, _connection: Connection, peer: Peer) -> None:
    peer.close()


def _leave(_node: Stack, _sid: str, _connection: Connection, peer: Peer) -> None:
    peer.say("41")
    peer.close()


def _reset(_node: Stack, _sid: str, _connection: Connection, peer: Peer) -> None:
    reset(peer.sock)


def _end(node: Stack, _sid: str, connection: Connection, peer: Peer) -> None:
    connection.end(node.sio.reason.SERVER_DISCONNECT)


def _kick(node: Stack, sid: str, _connection: Connection, peer: Peer) -> None:
    node.sio.disconnect(sid)
    peer.close()


def _kick_who_is_gone(node: Stack, sid: str, connection: Connection, peer: Peer) -> None:
    reset(peer.sock)
    node.sio.disconnect(sid)
    node.rig.until(lambda: connection.closed)


@pytest.mark.parametrize("end", [_close, _leave, _reset, _end, _kick, _kick_who_is_gone])
def test_an_end_is_told_once_and_nothing_is_kept(node: Stack, end: Any) -> None:
    sid, connection, peer = node.connect()
    end(node, sid, connection, peer)
    node.rig.until(lambda: connection.closed)
    assert [(what, who) for what, who, _ in node.told] == [("connect", sid), ("disconnect", sid)]
    peer.sock.close()
    node.rig.until(lambda: not node.leftovers)


def test_a_client_that_is_gone_before_its_connect_is_answered_leaves_no_session(node: Stack) -> None:
    """The connect handler has let it in; its connection then fails while the answer is written."""
    connection, peer = node.rig.websocket()
    with node.rig.held_handlers():
        peer.say("40")
        node.rig.until(lambda: connection._inbox)
        reset(peer.sock)
    node.rig.until(lambda: connection.closed)
    assert [what for what, _, _ in node.told] == ["connect", "disconnect"]
    assert node.reasons == [node.sio.reason.TRANSPORT_CLOSE]
    assert node.leftovers == {}


def test_a_client_whose_answer_is_too_much_leaves_no_session(node: Stack) -> None:
    connection = node.rig.polling()
    node.engine.limit = 10
    connection.received_all(["40"])
    assert connection.closed
    assert [what for what, _, _ in node.told] == ["connect", "disconnect"]
    assert node.leftovers == {}


# Sessions


def test_a_disconnect_looks_at_no_other_session(node: Stack) -> None:
    """python-socketio's own manager goes through every room, and every session is one."""
    sessions = [node.connect() for _ in range(20)]
    manager = node.sio.manager
    reads: list[str] = []

    class Noting(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            reads.append("iter")
            return super().__iter__()

        def copy(self) -> dict[str, str]:
            reads.append("copy")
            return super().copy()

    manager._eio, manager._sids = Noting(manager._eio), Noting(manager._sids)
    for _, connection, _ in sessions:
        connection.end("x")
    assert reads == []
    assert node.hub.get(sessions[0][0]) is None
    assert (manager._eio, manager._sids, manager.rooms) == ({}, {}, {"/": {}})


def test_participants_are_everybody_or_one(node: Stack) -> None:
    first, second = node.connect(), node.connect()
    eio = {sid: connection.sid for sid, connection, _ in (first, second)}
    manager = node.sio.manager
    assert dict(manager.get_participants("/", None)) == eio
    assert list(manager.get_participants("/", first[0])) == [(first[0], first[1].sid)]
    assert list(manager.get_participants("/", "nobody")) == []
    assert list(manager.get_participants("/", [second[0], "nobody"])) == [(second[0], second[1].sid)]
    assert manager.get_rooms(first[0], "/") == [first[0]]


def test_python_socketios_own_emit_reaches_one_and_all(node: Stack) -> None:
    first, second = node.connect(), node.connect()
    node.sio.emit("x", 1, to=first[0])
    node.sio.emit("y", (2, b"\1"))
    assert first[2].heard == [(1, b'42["x",1]'), (1, b'451-["y",2,{"_placeholder":true,"num":0}]'), (2, b"\1")]
    assert [opcode for opcode, _ in second[2].heard] == [1, 2]


def test_an_answer_is_given_to_who_takes_answers_whatever_it_says(node: Stack) -> None:
    sid, _, peer = node.connect()
    answers: list[tuple[str, int]] = []
    node.sio.on_answer = lambda *answer: answers.append(answer)
    peer.say('431["yes"]', "437[]", '439007199254740993[{"a":null}]')
    node.rig.until(lambda: len(answers) == 3)
    assert answers == [(sid, 1), (sid, 7), (sid, 9007199254740993)]


def test_an_answer_of_no_session_is_nobodys(node: Stack) -> None:
    answers: list[tuple[str, int]] = []
    node.sio.on_answer = lambda *answer: answers.append(answer)
    node.sio._handle_ack("gone", "/", 1, [])
    node.sio._handle_ack(node.connect()[1].sid, "/other", 1, [])
    assert answers == []


def test_rooms_are_not_python_socketios_business(node: Stack) -> None:
    sid, _, _ = node.connect()
    with pytest.raises(NotImplementedError):
        node.sio.enter_room(sid, "room")


def test_a_session_that_connects_or_disconnects_is_not_connected(node: Stack) -> None:
    manager = node.sio.manager
    sid = manager.pre_connect("eio", "/")
    assert manager.pre_connect("eio", "/") is None
    assert not manager.is_connected(sid, "/")
    assert manager.sid_from_eio_sid("eio", "/") == sid
    assert manager.sid_from_eio_sid("eio", "/admin") is None
    assert manager.connect(sid, "/") == sid
    assert manager.is_connected(sid, "/")
    assert manager.pre_disconnect(sid, "/") == "eio"
    assert not manager.is_connected(sid, "/")
    manager.disconnect(sid, "/", ignore_queue=True)
    manager.forget("eio")
    assert node.leftovers == {}


def test_one_that_is_forgotten_while_it_connects_leaves_nothing(node: Stack) -> None:
    manager = node.sio.manager
    manager.pre_connect("eio", "/")
    manager.forget("eio")
    assert node.leftovers == {}
