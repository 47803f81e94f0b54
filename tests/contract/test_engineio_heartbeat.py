"""A running node that is in a hurry: pings, pongs, and what ends without them.

The node asks after 0.3 s and waits for 0.2 s; no test says how long anything takes, only that it comes.  Where a test
needs time to pass for a silent session, another session's pings are its clock.
"""

import pytest

from tests.parts.process import until
from tests.parts.wire import WEBSOCKET, WebSocket, Wires

pytestmark = pytest.mark.services

SETTINGS = {"CLOUDPUSH_PING_INTERVAL_S": "0.3", "CLOUDPUSH_PING_TIMEOUT_S": "0.2"}


def _next_ping(session: WebSocket) -> None:
    assert session.receive() == "2"
    session.send("3")


def _let_a_timeout_pass(wires: Wires) -> None:
    clock = wires.session()
    for _ in range(3):
        _next_ping(clock)


def test_the_handshake_says_both_times_in_milliseconds(wires: Wires) -> None:
    opened = wires.polling().opened
    assert (opened["pingInterval"], opened["pingTimeout"]) == (300, 200)


def test_pongs_keep_a_polling_session(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    for _ in range(4):
        assert session.get().packets == ["2"]
        session.send("3")
    session.ask()


def test_pongs_keep_a_websocket_session(wires: Wires) -> None:
    session = wires.session()
    for _ in range(4):
        _next_ping(session)
    session.ask()


def test_a_polling_session_without_pong_ends_and_its_poll_with_a_close_packet(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    assert session.get().packets == ["2"]
    assert session.get().packets == ["1"]
    assert session.is_gone()


def test_a_polling_session_that_never_polls_ends(wires: Wires) -> None:
    session = wires.polling()
    _let_a_timeout_pass(wires)
    assert session.is_gone()
    assert session.post("3").status == 400


def test_a_polling_session_that_only_posts_messages_ends(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    until(lambda: session.post('42["nosuch"]').status == 400, 5, "the end of a session that sends no pong")


def test_a_websocket_without_pong_is_closed(wires: Wires) -> None:
    session = wires.session()
    session.ended()


def test_the_node_asks_on_the_websocket_after_an_upgrade(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    websocket = wires.probe(session)
    websocket.send("5")
    for _ in range(3):
        _next_ping(websocket)
    websocket.ask()
    websocket.ended()
    assert wires.request("GET", session.query).status == 400


def test_a_ping_that_was_asked_by_polling_may_be_answered_after_the_upgrade(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    assert session.get().packets == ["2"]
    websocket = wires.probe(session)
    websocket.send("5", "3")
    for _ in range(3):
        _next_ping(websocket)
    websocket.ask()


def test_a_websocket_that_probes_and_no_more_does_not_keep_its_session(wires: Wires) -> None:
    session = wires.polling()
    session.connect()
    websocket = wires.probe(session)
    websocket.ended()
    until(session.is_gone, 5, "the end of a session that sends no pong")


def test_a_websocket_of_a_session_that_says_nothing_ends_with_it(wires: Wires) -> None:
    session = wires.polling()
    websocket = wires.websocket(f"{WEBSOCKET}&sid={session.sid}")
    websocket.ended()
    until(session.is_gone, 5, "the end of a session that sends no pong")


@pytest.mark.parametrize("packets", [[], ["40/random,"], ['40{"key":"all"}']], ids=["nothing", "unknown", "refused"])
def test_a_websocket_that_connects_to_nothing_is_closed_though_it_sends_pongs(wires: Wires, packets: list[str]) -> None:
    websocket = wires.websocket()
    websocket.open()
    websocket.send(*packets)
    for _ in packets:
        assert websocket.receive().startswith("44")
    pings = _pings_until_closed(websocket)
    assert pings < 10, "it lives on its pongs"


def _pings_until_closed(websocket: WebSocket) -> int:
    for number in range(10):
        opcode, data = websocket.frame()
        if opcode == 8:
            return number
        assert data == b"2"
        websocket.send("3")
    return 10


def test_a_polling_session_that_connects_to_nothing_ends_though_it_sends_pongs(wires: Wires) -> None:
    session = wires.polling()
    for _ in range(10):
        answer = session.get()
        if answer.status == 400 or answer.packets == ["1"]:
            break
        assert answer.packets == ["2"]
        session.post("3")
    assert session.is_gone()
