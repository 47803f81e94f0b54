"""A running node against the Socket.IO protocol, revision 5: CONNECT, events, acks, DISCONNECT, what is malformed.

Source: github.com/socketio/socket.io-protocol.  Where the document is silent:

- A query in a namespace (``40/?a=b,``) belongs to older revisions.  The reference server answers Invalid namespace;
  that, or taking it for ``/``, is good here.
- A second CONNECT to the same namespace: the reference server closes the connection.  That, or a CONNECT_ERROR, is good
  here; in no case may the session change its key.
- An ACK for an id that nobody asked for: the reference server ignores it; that, or closing, is good here.
- ``4`` alone, ``42`` and ``421``: the reference server lets the last two pass, but the document demands a payload.
"""

import json

import pytest
import websocket as websocket_client

from tests.parts import journal
from tests.parts.wire import NO_CLOSE_FRAME, WebSocket, Wires

pytestmark = pytest.mark.services

_INVALID = '{"message":"Invalid namespace"}'


@pytest.fixture
def opened(wires: Wires) -> WebSocket:
    """A websocket that has its Engine.IO handshake and nothing more."""
    websocket = wires.websocket()
    websocket.open()
    return websocket


def _ends_or_works(websocket: WebSocket) -> None:
    """A session is closed, or as good as before; nothing between."""
    websocket.send('4277["nosuch"]')
    opcode, data = websocket.frame()
    assert opcode == 8 or data.startswith(b"4377[")


def test_a_connect_is_answered_with_a_sid_that_is_not_the_engineio_sid(opened: WebSocket) -> None:
    opened.send("40")
    answer = opened.receive()
    assert answer.startswith("40{")
    connected = json.loads(answer[2:])
    assert connected.keys() == {"sid"}
    assert isinstance(connected["sid"], str)
    assert connected["sid"] != opened.opened["sid"]


@pytest.mark.parametrize("packet", ["40{}", '40{"key":"k-1"}', "40/,", "40/,{}"])
def test_a_connect_may_name_the_main_namespace_and_carry_auth(opened: WebSocket, packet: str) -> None:
    opened.send(packet)
    assert opened.receive().startswith('40{"sid":')


@pytest.mark.parametrize("payload", ["", ",", ",{}", ',{"token":"123"}'])
def test_an_unknown_namespace_is_invalid_and_the_connection_stays_usable(opened: WebSocket, payload: str) -> None:
    opened.send(f"40/random{payload}")
    assert opened.receive() == f"44/random,{_INVALID}"
    opened.connect()
    opened.send(f"40/random{payload}")
    assert opened.receive() == f"44/random,{_INVALID}"
    opened.ask()


def test_an_unknown_namespace_is_invalid_over_polling_too(wires: Wires) -> None:
    session = wires.polling()
    session.send("40/random")
    assert session.receive() == f"44/random,{_INVALID}"
    session.connect()


def test_a_query_in_a_namespace_is_answered_and_the_connection_stays_usable(opened: WebSocket) -> None:
    opened.send("40/?a=b,")
    answer = opened.receive()
    assert answer == f"44/?a=b,{_INVALID}" or answer.startswith('40{"sid":')
    if answer.startswith("44"):
        opened.connect()
    else:
        assert opened.receive().startswith('42["ready"')
    opened.ask()


@pytest.mark.parametrize("packet", ['42["join","a"]', '421["nosuch"]', "41", "431[]", '450-["x"]', '421["nosuch"'])
def test_anything_before_a_connect_closes_the_connection(opened: WebSocket, packet: str) -> None:
    opened.send(packet)
    opened.ended()


def test_an_event_before_a_connect_ends_a_polling_session(wires: Wires) -> None:
    session = wires.polling()
    session.post('421["nosuch"]')
    session.until_told_of_its_end()


def test_an_event_for_a_namespace_that_was_refused_closes_the_connection(opened: WebSocket) -> None:
    opened.connect()
    opened.send("40/random,")
    assert opened.receive().startswith("44/random,")
    opened.send('42/random,1["nosuch"]')
    opened.ended()


def test_a_second_connect_closes_the_connection_or_changes_nothing(wires: Wires) -> None:
    session = wires.session('{"key":"first-key"}')
    session.send('40{"key":"second-key"}')
    opcode, data = session.frame()
    if opcode != 8:
        assert data.startswith(b"44")
        session.ask()
        wires.push("first-key", "still first")
        assert session.next_msgs(1) == ["still first"]
    with pytest.raises(AssertionError, match="NO_SESSION"):
        wires.push("second-key", "nobody")


def test_an_event_with_an_id_has_exactly_one_ack_and_without_one_none(wires: Wires) -> None:
    session = wires.session()
    session.send('42["nosuch"]', '421["nosuch"]', '42["join","a"]', '422["nosuch"]', '420["join","b"]')
    answers = [session.receive() for _ in range(3)]
    assert [answer.split("[")[0] for answer in answers] == ["431", "432", "430"]
    (answer,) = json.loads(answers[2][3:])
    assert answer["rooms"] == ["a", "b"]
    session.ask()


@pytest.mark.parametrize("number", [0, 9, 2**31 - 1, 2**31, 2**32, 2**53 - 1])
def test_an_ack_has_the_id_of_its_event_however_big(wires: Wires, number: int) -> None:
    wires.session().ask(number)


def test_an_event_may_name_the_main_namespace(wires: Wires) -> None:
    session = wires.session()
    session.send('42/,5["nosuch"]')
    assert session.receive().startswith("435[")


def test_json_may_have_spaces_and_escapes(wires: Wires) -> None:
    session = wires.session()
    session.send('421[ "j\\u006fin" ,\n"\\u4f60\\ud83c\\udf89" ]')
    assert json.loads(session.receive()[3:])[0]["rooms"] == ["你🎉"]


_MALFORMED = [
    "4abc",
    "4",
    "42",
    "42[",
    "42{}",
    "42[]",
    "42null",
    '42"x"',
    '42["x"',
    '42["x"]]',
    "421",
    "42[1]",
    "42[null]",
    '42abc["nosuch"]',
    '42-1["nosuch"]',
    '421.5["nosuch"]',
    "47",
    "49",
    "43",
    "431",
    "431{}",
    "44{}",
    '44{"message":"no"}',
    '41["x"]',
    '42/unknown,["x"]',
    "41/unknown,",
    '42["connect"]',
    '42["connect_error"]',
    '42["disconnect"]',
    '42["disconnecting"]',
    '42["newListener"]',
    '42["removeListener"]',
]


@pytest.mark.parametrize("packet", _MALFORMED)
def test_a_malformed_packet_closes_the_connection_and_its_session(wires: Wires, packet: str) -> None:
    session = wires.websocket()
    session.open()
    ready = session.connect()
    session.send(packet)
    assert session.ended() != NO_CLOSE_FRAME, "closed without a close frame"
    journal.until_line(wires.node.process, event="disconnected", session=ready["session"])


@pytest.mark.parametrize("packet", ["4abc", "42{}", '42["connect"]', "44{}", "4"])
def test_a_malformed_packet_ends_a_polling_session_and_frees_its_poll(wires: Wires, packet: str) -> None:
    session = wires.polling()
    ready = session.connect()
    pending = session.poll()
    session.post(packet)
    assert pending.answer().packets == ["1"]
    assert session.is_gone()
    journal.until_line(wires.node.process, event="disconnected", session=ready["session"])


def test_an_ack_that_nobody_asked_for_changes_nothing_or_closes(wires: Wires) -> None:
    session = wires.session()
    session.send("4399[]")
    _ends_or_works(session)


def test_a_disconnect_ends_the_session_without_an_answer_and_the_connection_can_connect_again(
    wires: Wires, opened: WebSocket
) -> None:
    first = opened.connect('{"key":"comes-twice"}')
    opened.send("41")
    journal.until_line(wires.node.process, event="disconnected", session=first["session"])
    second = opened.connect('{"key":"comes-twice"}')
    assert second["session"] != first["session"]
    wires.push("comes-twice", "once")  # to one session, not to two
    assert opened.next_msgs(1) == ["once"]


def test_an_event_after_a_disconnect_closes_the_connection(wires: Wires, opened: WebSocket) -> None:
    session = opened.connect()["session"]
    opened.send("41")
    journal.until_line(wires.node.process, event="disconnected", session=session)
    opened.send('421["nosuch"]')
    opened.ended()


def test_a_disconnect_over_polling_ends_the_session_and_not_the_connection(wires: Wires) -> None:
    session = wires.polling()
    first = session.connect()
    session.send("41")
    assert session.connect()["session"] != first["session"]


def test_a_client_that_just_vanishes_ends_its_session(wires: Wires) -> None:
    session = wires.websocket()
    session.open()
    ready = session.connect()
    session.close()
    journal.until_line(wires.node.process, event="disconnected", session=ready["session"])
    with pytest.raises(websocket_client.WebSocketBadStatusException):
        wires.websocket(f"EIO=4&transport=websocket&sid={session.opened['sid']}")
