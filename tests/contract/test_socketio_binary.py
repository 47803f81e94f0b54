"""A running node against the Socket.IO protocol, revision 5: events with binary attachments, over both transports.

Source: github.com/socketio/socket.io-protocol, and for the bound of 10 attachments its reference parser.  Stricter than
that parser: every attachment has exactly one place in the event.  A BINARY_ACK for an id that nobody asked for may be
ignored, as by the reference server, or close the connection.

An event that no node knows is enough to see that it came whole: its ack says so.
"""

import json

import pytest

from tests.parts.http_wire import SEPARATOR
from tests.parts.wire import WebSocket, Wires

pytestmark = pytest.mark.services

_ONE = '{"_placeholder":true,"num":0}'
_UNKNOWN = [{"error": {"code": "unknown_event", "message": "there is no event 'nosuch'"}}]


def _places(count: int) -> str:
    return ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(count))


@pytest.fixture
def session(wires: Wires) -> WebSocket:
    """A connected session over websocket."""
    return wires.session()


def _is_acked(answer: str, number: int = 7) -> None:
    assert answer.startswith(f"43{number}["), answer
    assert json.loads(answer.removeprefix(f"43{number}")) == _UNKNOWN


def test_an_event_with_an_attachment_is_delivered(session: WebSocket) -> None:
    session.send(f'451-7["nosuch",{_ONE}]', b"\x00\x01\xfe\xff")
    _is_acked(session.receive())
    session.ask()


def test_an_attachment_reaches_the_handler_as_bytes(session: WebSocket) -> None:
    session.send(f'451-7["join",{_ONE}]', b"room")
    assert json.loads(session.receive()[3:])[0]["error"]["code"] == "invalid_room"


@pytest.mark.parametrize("count", [2, 10])
def test_an_event_may_have_up_to_ten_attachments(session: WebSocket, count: int) -> None:
    session.send(f'45{count}-7["nosuch",{_places(count)}]', *[bytes([number]) for number in range(count)])
    _is_acked(session.receive())
    session.ask()


@pytest.mark.parametrize(
    "arguments",
    [
        f'{{"a":[{{"b":{_ONE}}}]}}',
        f'{_ONE},{{"n":1}}',
        f'"text",[[{_ONE}]]',
        f'{{"_placeholder":false,"num":9}},{_ONE}',
    ],
)
def test_an_attachment_may_be_anywhere_in_the_event(session: WebSocket, arguments: str) -> None:
    session.send(f'451-7["nosuch",{arguments}]', b"x")
    _is_acked(session.receive())


def test_places_need_not_be_in_the_order_of_their_numbers(session: WebSocket) -> None:
    session.send('452-7["nosuch",{"num":1,"_placeholder":true},{"num":0,"_placeholder":true}]', b"a", b"b")
    _is_acked(session.receive())


@pytest.mark.parametrize("size", [0, 126, 65_536])
def test_an_attachment_may_have_any_size(session: WebSocket, size: int) -> None:
    session.send(f'451-7["nosuch",{_ONE}]', bytes(size))
    _is_acked(session.receive())


def test_an_event_with_attachments_without_id_has_no_ack(session: WebSocket) -> None:
    session.send(f'451-["nosuch",{_ONE}]', b"x")
    session.ask()


def test_a_heartbeat_may_come_between_an_event_and_its_attachment(session: WebSocket) -> None:
    session.send(f'451-7["nosuch",{_ONE}]', "3", b"x")
    _is_acked(session.receive())


def test_the_main_namespace_may_be_named(session: WebSocket) -> None:
    session.send(f'451-/,7["nosuch",{_ONE}]', b"x")
    _is_acked(session.receive())


def test_over_polling_an_attachment_is_base64_in_the_same_payload(wires: Wires) -> None:
    polling = wires.polling()
    polling.connect()
    assert polling.post(f'452-7["nosuch",{_places(2)}]', "bAQIDBA==", "b", '428["nosuch"]').status == 200
    _is_acked(polling.receive(), 7)
    _is_acked(polling.receive(), 8)


def test_over_polling_an_attachment_may_come_in_the_next_payload(wires: Wires) -> None:
    polling = wires.polling()
    polling.connect()
    polling.send(f'451-7["nosuch",{_ONE}]')
    polling.send("b//79AA==")
    _is_acked(polling.receive())


def test_an_event_may_be_posted_and_its_attachment_sent_after_the_upgrade(wires: Wires) -> None:
    polling = wires.polling()
    polling.connect()
    polling.send(f'451-7["nosuch",{_ONE}]')
    websocket = wires.probe(polling)
    websocket.send("5", b"x")
    _is_acked(websocket.receive())


_BAD: dict[str, list[str | bytes]] = {
    "text where an attachment is due": [f'451-7["nosuch",{_ONE}]', '428["nosuch"]'],
    "text where the second is due": [f'452-7["nosuch",{_places(2)}]', b"x", '428["nosuch"]'],
    "a CONNECT where an attachment is due": [f'451-7["nosuch",{_ONE}]', "40"],
    "an attachment that nobody announced": [b"x"],
    "one attachment too many": [f'451-["nosuch",{_ONE}]', b"x", b"y"],
    "eleven attachments": [f'4511-7["nosuch",{_places(11)}]', *[b"x"] * 11],
    "very many attachments": [f'4599999999999-7["nosuch",{_ONE}]'],
    "a number out of range": ['451-7["nosuch",{"_placeholder":true,"num":1}]', b"x"],
    "a negative number": ['451-7["nosuch",{"_placeholder":true,"num":-1}]', b"x"],
    "a number that is text": ['451-7["nosuch",{"_placeholder":true,"num":"0"}]', b"x"],
    "a number that is true": ['452-7["nosuch",{"_placeholder":true,"num":true},' + _ONE + "]", b"x", b"y"],
    "a number with a fraction": ['451-7["nosuch",{"_placeholder":true,"num":0.5}]', b"x"],
    "a place without a number": ['451-7["nosuch",{"_placeholder":true}]', b"x"],
    "no place at all": ['451-7["nosuch"]', b"x"],
    "a place missing": [f'452-7["nosuch",{_ONE}]', b"x", b"y"],
    "the same place twice": [f'452-7["nosuch",{_ONE},{_ONE}]', b"x", b"y"],
    "a place for the name of the event": [f"451-7[{_ONE}]", b"nosuch"],
    "a reserved name": [f'451-["connect",{_ONE}]', b"x"],
    "no array": [f"451-7{_ONE}", b"x"],
    "no payload": ["451-7", b"x"],
    "no JSON": [f'451-7["nosuch",{_ONE}', b"x"],
    "no count": [f'45["nosuch",{_ONE}]', b"x"],
    "an empty count": [f'45-["nosuch",{_ONE}]', b"x"],
    "a count that is no number": [f'45x-["nosuch",{_ONE}]', b"x"],
    "a count with a fraction": [f'451.5-["nosuch",{_ONE}]', b"x"],
    "an unknown namespace": [f'451-/unknown,["nosuch",{_ONE}]', b"x"],
}


@pytest.mark.parametrize("packets", _BAD.values(), ids=_BAD.keys())
def test_what_is_wrong_with_attachments_closes_the_connection(session: WebSocket, packets: list[str | bytes]) -> None:
    session.send(*packets)
    session.ended()


@pytest.mark.parametrize(
    "payload",
    [
        "bAQID",
        f'451-7["nosuch",{_ONE}]{SEPARATOR}428["nosuch"]',
        f'451-7["nosuch",{{"_placeholder":true,"num":1}}]{SEPARATOR}bAQID',
        f'451-7["nosuch",{_ONE}]{SEPARATOR}bAQ!D',
    ],
    ids=["nobody announced it", "text where it is due", "number out of range", "bad base64"],
)
def test_what_is_wrong_with_attachments_ends_a_polling_session(wires: Wires, payload: str) -> None:
    polling = wires.polling()
    polling.connect()
    polling.post(payload)
    polling.until_told_of_its_end()


def test_an_attachment_before_the_connect_closes_the_connection(wires: Wires) -> None:
    websocket = wires.websocket()
    websocket.open()
    websocket.send(f'451-7["nosuch",{_ONE}]', b"x")
    websocket.ended()


def test_a_binary_ack_that_nobody_asked_for_changes_nothing_or_closes(session: WebSocket) -> None:
    session.send(f"461-99[{_ONE}]", b"x", '4277["nosuch"]')
    opcode, data = session.frame()
    assert opcode == 8 or data.startswith(b"4377[")
