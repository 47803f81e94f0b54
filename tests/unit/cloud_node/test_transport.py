"""The seam to python-socketio and python-engineio: what it touches is still there, and what it promises on top.

The first tests each look at one thing that these libraries do not publish, and say which library changed.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import engineio
import pytest
import socketio
from engineio import packet as engineio_packet
from engineio.async_drivers import eventlet as engineio_eventlet
from engineio.socket import Socket

from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from cloud_node.wire import json as wire_json
from cloud_node.wire.transport import Transport

_ENGINEIO = f"python-engineio {version('python-engineio')} changed"
_SOCKETIO = f"python-socketio {version('python-socketio')} changed"


class _Node:
    """A Socket.IO server without a network: sessions are real engineio sockets whose queues nobody empties."""

    def __init__(self, max_waiting: int = 3) -> None:
        self.sio = socketio.Server(async_mode="eventlet", async_handlers=False, json=wire_json)
        self.slow = 0
        self.hub = Hub(lambda _key, _count: None)
        self.transport = Transport(self.sio, max_waiting, self._count)
        self.reasons: list[str] = []
        self.sio.on("connect", lambda *_: None)
        self.sio.on("disconnect", self._disconnected)

    def _count(self) -> None:
        self.slow += 1

    def _disconnected(self, sid: str, reason: str) -> None:
        self.hub.remove(sid)
        self.reasons.append(reason)

    def connect(self) -> tuple[Session, Socket]:
        connection = Socket(self.sio.eio, f"eio-{len(self.hub)}")
        self.sio.eio.sockets[connection.sid] = connection
        self.sio.environ[connection.sid] = {}
        sid = self.sio.manager.connect(connection.sid, "/")
        return self.hub.add(sid, Identity("alice")), connection


def _waiting(connection: Socket) -> list[str]:
    packets = []
    while connection.queue.qsize():
        packet = connection.queue.get(block=False)
        packets.append("end" if packet is None else packet.encode())
    return packets


@pytest.fixture
def node() -> _Node:
    return _Node()


def test_socketio_keeps_its_engineio_server_at_eio_and_that_its_sockets_by_sid(node: _Node) -> None:
    assert isinstance(node.sio.eio, engineio.Server), _SOCKETIO
    assert node.sio.eio.sockets == {}, _ENGINEIO


def test_socketio_leads_from_a_sid_to_the_engineio_sid(node: _Node) -> None:
    session, connection = node.connect()
    assert node.sio.manager.eio_sid_from_sid(session.sid, "/") == connection.sid, _SOCKETIO
    assert node.sio.manager.eio_sid_from_sid("no such sid", "/") is None, _SOCKETIO


def test_socketio_has_packet_class_and_reasons(node: _Node) -> None:
    encoded = node.sio.packet_class(socketio.packet.EVENT, namespace="/", data=["e", 1]).encode()
    assert encoded == '2["e",1]', _SOCKETIO
    assert node.sio.reason.SERVER_DISCONNECT, _SOCKETIO
    assert node.sio.reason.TRANSPORT_ERROR, _SOCKETIO


@pytest.mark.parametrize("flag", ["closed", "closing"])
def test_an_engineio_socket_says_whether_it_is_closed(node: _Node, flag: str) -> None:
    _, connection = node.connect()
    assert getattr(connection, flag) is False, _ENGINEIO
    connection.close(wait=False, abort=True)
    assert getattr(connection, flag) is True, _ENGINEIO


def test_an_engineio_socket_queues_what_is_sent_and_ends_its_queue_with_none(node: _Node) -> None:
    _, connection = node.connect()
    connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, "x"))
    assert connection.queue.qsize() == 1, _ENGINEIO
    connection.close(wait=False, abort=True)
    assert _waiting(connection) == ["4x", "end"], _ENGINEIO


def test_an_engineio_sockets_close_takes_wait_abort_and_reason() -> None:
    assert {"wait", "abort", "reason"} <= set(inspect.signature(Socket.close).parameters), _ENGINEIO


def test_a_closed_engineio_socket_refuses_to_send_with_its_own_error(node: _Node) -> None:
    _, connection = node.connect()
    connection.close(wait=False, abort=True)
    with pytest.raises(engineio.exceptions.SocketIsClosedError):
        connection.send(engineio_packet.Packet(engineio_packet.MESSAGE, "x"))


def test_engineio_makes_its_websockets_from_a_class_of_handler_and_server() -> None:
    websocket_class = engineio_eventlet._async["websocket"]
    assert list(inspect.signature(websocket_class.__init__).parameters)[1:] == ["handler", "server"], _ENGINEIO
    source = inspect.getsource(Socket._upgrade_websocket)
    assert "self.server._async['websocket'](" in source, _ENGINEIO
    assert "self._websocket_handler, self.server)" in source, f"{_ENGINEIO}: the handler is no method of the socket"


def test_the_websocket_of_a_connection_is_known_while_its_handler_runs_and_not_after(node: _Node) -> None:
    _, connection = node.connect()
    seen: list[Any] = []
    connection._websocket_handler = _bound(connection, lambda _ws: seen.append(dict(node.transport._websockets)))
    websocket = node.sio.eio._async["websocket"](connection._websocket_handler, node.sio.eio)
    assert isinstance(websocket, engineio_eventlet.WebSocketWSGI), _ENGINEIO
    websocket.handler("the websocket")
    assert seen == [{connection: "the websocket"}]
    assert node.transport._websockets == {}


def test_other_servers_keep_their_own_websocket_class(node: _Node) -> None:
    assert node.sio.eio._async["websocket"] is not engineio_eventlet._async["websocket"]


def _bound(connection: Socket, run: Callable[[Any], object]) -> Any:
    def handle(self: Socket, websocket: Any) -> Any:
        return run(websocket)

    return handle.__get__(connection)


class _Websocket:
    """Stands in for eventlet's: keeps how its socket was shut down."""

    def __init__(self, *, broken: bool = False) -> None:
        self.socket = self
        self.shut: list[int] = []
        self._broken = broken

    def shutdown(self, how: int) -> None:
        self.shut.append(how)
        if self._broken:
            raise OSError("Transport endpoint is not connected")


def test_an_event_goes_to_every_session_encoded_once(node: _Node) -> None:
    sessions = [node.connect() for _ in range(3)]
    assert node.transport.emit([session for session, _ in sessions], "push", {"op": 9}) == 3
    packets = [connection.queue.get(block=False) for _, connection in sessions]
    assert packets[0] is packets[1] is packets[2]
    assert packets[0].encode() == '42["push",{"op":9}]'


def test_sessions_that_have_ended_are_skipped_and_the_rest_is_served(node: _Node) -> None:
    closed, gone, last = node.connect(), node.connect(), node.connect()
    closed[1].close(wait=False, abort=True)
    del node.sio.eio.sockets[gone[1].sid]
    unknown = Session("no such sid", Identity("alice"), None)
    assert node.transport.emit([closed[0], gone[0], unknown, last[0]], "push", 1) == 1
    assert _waiting(last[1]) == ['42["push",1]']


def test_a_session_that_ends_in_the_middle_of_an_emit_does_not_spoil_it(
    node: _Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = node.connect(), node.connect()

    def refuse(_packet: Any) -> None:
        raise engineio.exceptions.SocketIsClosedError

    monkeypatch.setattr(first[1], "send", refuse)
    assert node.transport.emit([first[0], last[0]], "push", 1) == 1


def test_a_session_whose_ping_ran_out_is_not_counted(node: _Node) -> None:
    session, connection = node.connect()
    connection.last_ping = 1.0
    assert node.transport.emit([session], "push", 1) == 0
    assert connection.closed
    assert node.hub.get(session.sid) is None


@pytest.mark.parametrize("broken", [False, True])
def test_a_session_too_far_behind_is_cut_and_counted_and_the_others_are_served(node: _Node, broken: bool) -> None:
    slow, quick = node.connect(), node.connect()
    websocket = _Websocket(broken=broken)
    node.transport._websockets[slow[1]] = websocket
    for _ in range(3):
        assert node.transport.emit([slow[0]], "push", 1) == 1
    assert node.transport.emit([slow[0], quick[0]], "push", 2) == 1
    assert (node.slow, len(websocket.shut)) == (1, 1)
    assert slow[1].closed
    assert node.reasons == [node.sio.reason.TRANSPORT_ERROR]
    assert [session.sid for session in node.hub] == [quick[0].sid], "the hub forgot it in the same step"
    assert node.transport.emit([slow[0]], "push", 3) == 0
    assert node.slow == 1, "it is counted once"


def test_a_session_that_polls_is_cut_without_a_websocket(node: _Node) -> None:
    session, connection = node.connect()
    node.transport.emit([session] * 4, "push", 1)
    assert (node.slow, connection.closed) == (1, True)


def test_a_dropped_session_gets_what_waits_and_then_the_end(node: _Node) -> None:
    session, connection = node.connect()
    node.transport.emit([session], "push", 1)
    node.transport.drop(session)
    assert _waiting(connection) == ['42["push",1]', "end"]
    assert node.reasons == [node.sio.reason.SERVER_DISCONNECT]
    node.transport.drop(session)
    assert len(node.reasons) == 1


def test_a_kicked_session_is_told_not_to_come_back(node: _Node) -> None:
    session, connection = node.connect()
    node.transport.kick(session)
    assert _waiting(connection)[0] == "41"
    assert node.hub.get(session.sid) is None
