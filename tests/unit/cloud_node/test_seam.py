"""What python-socketio and python-engineio do not publish and seam.py touches: is it still there?

Each test looks at one thing in the library itself, and says which library changed.
"""

import inspect
import re
from importlib.metadata import version
from typing import Any

import engineio
import pytest
import socketio
from engineio.async_drivers import eventlet as _driver  # noqa: F401 - there is one for eventlet

from cloud_node.wire.seam import Sessions
from tests.fakes.changed import named

_ENGINEIO = f"python-engineio {version('python-engineio')} changed"
_SOCKETIO = f"python-socketio {version('python-socketio')} changed"


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


class _Socket:
    """What python-engineio's server may know of a connection, and no more."""

    def __init__(self) -> None:
        self.closed = False
        self.session: Any = None
        self.calls: list[tuple[str, Any]] = []

    def send(self, packet: Any) -> None:
        self.calls.append(("send", packet.encode()))

    def close(self, reason: str | None = None, **_: Any) -> None:
        self.calls.append(("close", reason))
        self.closed = True


@pytest.fixture
def sio() -> Any:
    """A stock server with one connection, ``e``."""
    server = socketio.Server(async_mode="eventlet", async_handlers=False, monitor_clients=False)
    server.eio.sockets["e"] = _Socket()
    server.on("connect", lambda *_: None)
    server._handle_eio_connect("e", {})
    return server


def _sent(server: Any) -> list[str]:
    return [data for what, data in server.eio.sockets["e"].calls if what == "send"]


# python-socketio


@named(_SOCKETIO)
def test_socketio_makes_its_engineio_server_of_the_class_that_it_is_told() -> None:
    class Engine(engineio.Server):  # type: ignore[misc]
        pass

    class Server(socketio.Server):  # type: ignore[misc]
        def _engineio_server_class(self) -> type:
            return Engine

    assert isinstance(Server(async_mode="eventlet").eio, Engine), f"{_SOCKETIO}: _engineio_server_class"


@named(_SOCKETIO)
def test_socketio_keeps_the_environ_of_a_connection_from_its_beginning_to_its_end(sio: Any) -> None:
    environ = {"a": 1}
    sio._handle_eio_connect("f", environ)
    assert sio.environ["f"] is environ, f"{_SOCKETIO}: environ, _handle_eio_connect"
    sio._handle_eio_disconnect("f", "x")
    assert "f" not in sio.environ, f"{_SOCKETIO}: environ, _handle_eio_disconnect"


@pytest.mark.parametrize("event", ["connect", "message", "disconnect"])
@named(_SOCKETIO)
def test_socketio_is_told_by_engineio_through_its_methods(sio: Any, event: str) -> None:
    assert sio.eio.handlers[event] == getattr(sio, f"_handle_eio_{event}"), f"{_SOCKETIO}: _handle_eio_{event}"


@named(_SOCKETIO)
def test_socketio_takes_a_message_by_its_connection(sio: Any) -> None:
    assert _parameters(socketio.Server._handle_eio_message) == ["self", "eio_sid", "data"], _SOCKETIO
    sio._handle_eio_message("e", "0")
    assert _sent(sio)[0].startswith('40{"sid":'), f"{_SOCKETIO}: _handle_eio_message"


@named(_SOCKETIO)
def test_socketio_handles_a_connect_by_connection_namespace_and_data(monkeypatch: Any, sio: Any) -> None:
    assert _parameters(socketio.Server._handle_connect) == ["self", "eio_sid", "namespace", "data"], _SOCKETIO
    seen: list[Any] = []
    monkeypatch.setattr(sio, "_handle_connect", lambda *args: seen.append(args))
    sio._handle_eio_message("e", '0{"a":1}')
    assert seen in ([("e", None, {"a": 1})], [("e", "/", {"a": 1})]), f"{_SOCKETIO}: _handle_connect"


@named(_SOCKETIO)
def test_socketio_registers_a_session_as_connected_once_its_connect_is_answered(sio: Any, monkeypatch: Any) -> None:
    """Sessions.connect is where a session is told that its connection failed meanwhile."""
    order: list[str] = []

    def noting(name: str, method: Any) -> Any:
        def call(*args: Any) -> Any:
            order.append(name)
            return method(*args)

        return call

    monkeypatch.setattr(sio.manager, "connect", noting("connect", sio.manager.connect))
    monkeypatch.setattr(sio, "_send_packet", noting("send", sio._send_packet))
    sio._handle_eio_message("e", "0")
    assert order == ["send", "connect"], f"{_SOCKETIO}: _handle_connect"


@named(_SOCKETIO)
def test_socketio_keeps_a_packet_that_waits_for_attachments_by_its_connection(sio: Any) -> None:
    sio._handle_eio_message("e", "0")
    sio._handle_eio_message("e", '51-["x",{"_placeholder":true,"num":0}]')
    assert list(sio._binary_packet) == ["e"], f"{_SOCKETIO}: _binary_packet"
    sio._handle_eio_message("e", b"data")
    assert sio._binary_packet == {}, f"{_SOCKETIO}: _binary_packet"


@named(_SOCKETIO)
def test_socketio_triggers_the_handler_of_a_namespaces_event(sio: Any) -> None:
    sio.on("disconnect", lambda *args: args)
    assert sio._trigger_event("disconnect", "/", "s", "why") == ("s", "why"), f"{_SOCKETIO}: _trigger_event"


@named(_SOCKETIO)
def test_socketio_sends_a_packet_to_a_connection(sio: Any) -> None:
    packet = sio.packet_class(socketio.packet.CONNECT_ERROR, data={"message": "no"}, namespace="/x")
    sio._send_packet("e", packet)
    assert _sent(sio) == ['44/x,{"message":"no"}'], f"{_SOCKETIO}: _send_packet, packet_class"


@named(_SOCKETIO)
def test_socketio_keeps_handlers_by_namespace(sio: Any) -> None:
    assert list(sio.handlers) == ["/"], f"{_SOCKETIO}: handlers"
    sio.on("x", lambda *_: None, namespace="/other")
    assert list(sio.handlers) == ["/", "/other"], f"{_SOCKETIO}: handlers"


@named(_SOCKETIO)
def test_socketio_has_the_reasons_of_an_end(sio: Any) -> None:
    for reason in ("SERVER_DISCONNECT", "TRANSPORT_ERROR", "TRANSPORT_CLOSE"):
        assert isinstance(getattr(sio.reason, reason), str), f"{_SOCKETIO}: reason.{reason}"


_REPLACED = {
    "get_namespaces": ["self"],
    "pre_connect": ["self", "eio_sid", "namespace"],
    "connect": ["self", "sid", "namespace"],
    "is_connected": ["self", "sid", "namespace"],
    "sid_from_eio_sid": ["self", "eio_sid", "namespace"],
    "eio_sid_from_sid": ["self", "sid", "namespace"],
    "pre_disconnect": ["self", "sid", "namespace"],
    "disconnect": ["self", "sid", "namespace", "kwargs"],
    "get_participants": ["self", "namespace", "room"],
    "get_rooms": ["self", "sid", "namespace"],
    "basic_enter_room": ["self", "sid", "namespace", "room", "eio_sid"],
}
_KEPT = {"can_disconnect", "emit", "enter_room", "leave_room", "close_room", "trigger_callback", "initialize"}


@pytest.mark.parametrize("name", _REPLACED)
@named(_SOCKETIO)
def test_socketios_manager_has_the_method_that_is_replaced(name: str) -> None:
    assert _parameters(getattr(socketio.Manager, name)) == _REPLACED[name], f"{_SOCKETIO}: Manager.{name}"
    assert name in vars(Sessions)


@named(_SOCKETIO)
def test_socketio_asks_nothing_else_of_its_manager() -> None:
    source = "".join(inspect.getsource(each) for each in (socketio.server, socketio.base_server))
    asked = set(re.findall(r"self\.manager\.(\w+)\(", source))
    assert asked - {"set_server"} <= {*_REPLACED, *_KEPT}, f"{_SOCKETIO}: it asks more of its manager"


@named(_SOCKETIO)
def test_socketios_manager_emits_only_to_a_namespace_that_has_rooms(sio: Any) -> None:
    assert sio.manager.rooms == {}, f"{_SOCKETIO}: Manager.rooms"
    assert sio.manager.callbacks == {}, f"{_SOCKETIO}: Manager.callbacks"
    assert "if namespace not in self.rooms" in inspect.getsource(socketio.Manager.emit), f"{_SOCKETIO}: Manager.emit"


# python-engineio


@pytest.fixture
def eio() -> Any:
    """A stock server with one connection, ``e``."""
    server = engineio.Server(async_mode="eventlet", monitor_clients=False, cors_allowed_origins=["http://good"])
    server.sockets["e"] = _Socket()
    return server


@named(_ENGINEIO)
def test_engineio_finds_a_connection_in_its_sockets_unless_it_is_closed(eio: Any) -> None:
    assert eio._get_socket("e") is eio.sockets["e"], f"{_ENGINEIO}: sockets"
    eio.sockets["e"].closed = True
    with pytest.raises(KeyError):
        eio._get_socket("e")


@named(_ENGINEIO)
def test_engineio_sends_through_its_socket(eio: Any) -> None:
    eio.send("e", "text")
    eio.send("nobody", "text")
    assert eio.sockets["e"].calls == [("send", "4text")], f"{_ENGINEIO}: a socket's send"


@named(_ENGINEIO)
def test_engineio_closes_its_socket_with_a_reason(eio: Any) -> None:
    connection = eio.sockets["e"]
    eio.disconnect("e")
    assert connection.calls == [("close", eio.reason.SERVER_DISCONNECT)], f"{_ENGINEIO}: a socket's close"


@named(_ENGINEIO)
def test_engineio_keeps_its_users_data_in_its_socket(eio: Any) -> None:
    eio.save_session("e", {"a": 1})
    assert eio.sockets["e"].session == eio.get_session("e") == {"a": 1}, f"{_ENGINEIO}: a socket's session"


@named(_ENGINEIO)
def test_engineio_triggers_the_handler_of_an_event_and_swallows_what_it_raises(eio: Any) -> None:
    eio.on("message", lambda *args: args)
    assert eio.handlers["message"](1) == (1,), f"{_ENGINEIO}: handlers"
    assert eio._trigger_event("message", "e", "x", run_async=False) == ("e", "x"), f"{_ENGINEIO}: _trigger_event"

    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug")

    eio.on("message", fail)
    eio._trigger_event("message", "e", "x", run_async=False)


@named(_ENGINEIO)
def test_engineio_says_which_origins_are_allowed(eio: Any) -> None:
    environ = {"HTTP_HOST": "node", "wsgi.url_scheme": "http"}
    allowed = eio._cors_allowed_origins({**environ, "HTTP_ORIGIN": "http://good"})
    assert list(allowed) == ["http://good"], f"{_ENGINEIO}: _cors_allowed_origins"
    eio.cors_allowed_origins = lambda origin: origin == "http://called"
    assert "http://called" in eio._cors_allowed_origins({**environ, "HTTP_ORIGIN": "http://called"}), _ENGINEIO
    assert "http://evil" not in eio._cors_allowed_origins({**environ, "HTTP_ORIGIN": "http://evil"}), _ENGINEIO
    eio.cors_allowed_origins = "*"
    assert eio._cors_allowed_origins({**environ, "HTTP_ORIGIN": "http://any"}) in (None, ["http://any"]), _ENGINEIO


@named(_ENGINEIO)
def test_engineio_gives_the_headers_of_cross_origin_requests(eio: Any) -> None:
    environ = {"HTTP_ORIGIN": "http://good", "REQUEST_METHOD": "OPTIONS"}
    headers = dict(eio._cors_headers(environ))
    assert headers["Access-Control-Allow-Origin"] == "http://good", f"{_ENGINEIO}: _cors_headers"


@named(_ENGINEIO)
def test_engineio_monitors_nobody_when_it_is_told_so(eio: Any) -> None:
    assert eio.start_service_task is False, f"{_ENGINEIO}: monitor_clients"
