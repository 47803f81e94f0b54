"""Socket.IO packets: what a client may send is read, all else is malformed, and nothing else is raised."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.wire import json as wire_json
from cloud_node.wire.packets import Malformed, StrictPacket


@pytest.fixture(autouse=True)
def _our_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StrictPacket, "json", wire_json)


def _read(text: str) -> Any:  # python-socketio has no types
    return StrictPacket(encoded_packet=text)


_HOLE = '{"_placeholder":true,"num":%d}'


@pytest.mark.parametrize(
    ("text", "kind", "number", "data"),
    [
        ('2["e"]', 2, None, ["e"]),
        ('2["e",1,{"a":[]}]', 2, None, ["e", 1, {"a": []}]),
        ('212["e"]', 2, 12, ["e"]),
        ('2/,["e"]', 2, None, ["e"]),
        ("1", 1, None, None),
        ("1/,", 1, None, None),
        ('312["ok"]', 3, 12, ["ok"]),
        ("30[]", 3, 0, []),
        ("0", 0, None, None),
        ('0{"key":"a"}', 0, None, {"key": "a"}),
    ],
)
def test_what_clients_send_is_read(text: str, kind: int, number: int | None, data: Any) -> None:
    packet = _read(text)
    assert (packet.packet_type, packet.id, packet.data) == (kind, number, data)
    assert packet.namespace in (None, "/")
    assert packet.attachment_count == 0


@pytest.mark.parametrize("auth", ["[]", '""', "false", "0", '"x"', "12", "{", "nonsense", '{"a":NaN}', "1-[]", "5{}"])
def test_a_connect_is_always_read_and_what_is_no_object_is_shown_to_the_handler_as_such(auth: str) -> None:
    packet = _read("0" + auth)
    assert (packet.packet_type, packet.data) == (0, "not an object")


def test_a_connect_to_another_namespace_is_read_so_that_its_sender_learns_why() -> None:
    packet = _read('0/admin,{"a":1}')
    assert (packet.packet_type, packet.namespace, packet.data) == (0, "/admin", {"a": 1})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("4", "packet of type '4'"),
        ('4{"message":"x"}', "packet of type '4'"),
        ("7", "packet of type '7'"),
        ("x", "packet of type 'x'"),
        ("2", "begins with its name"),
        ("212", "begins with its name"),
        ("2[]", "begins with its name"),
        ("2[1]", "begins with its name"),
        ('2{"a":1}', "begins with its name"),
        ('2"e"', "begins with its name"),
        ("2null", "begins with its name"),
        ('2["e"', "not a packet"),
        ('2["e",NaN]', "not a packet"),
        ('2["e"]x', "not a packet"),
        ('2["connect"]', "'connect' is reserved"),
        ('2["connect_error"]', "'connect_error' is reserved"),
        ('2["disconnect","x"]', "'disconnect' is reserved"),
        ('2["disconnecting"]', "'disconnecting' is reserved"),
        ('2["newListener"]', "'newListener' is reserved"),
        ('2["removeListener"]', "'removeListener' is reserved"),
        ('2/admin,["e"]', "nobody joined"),
        ("1/admin,", "nobody joined"),
        ("1{}", "a DISCONNECT has no data"),
        ("11", "a DISCONNECT has no data"),
        ("3[]", "an ACK has an id and a list"),
        ("31", "an ACK has an id and a list"),
        ("31{}", "an ACK has an id and a list"),
        ('21-["e"]', "attachments are for binary packets"),
        ('5["e"]', "attachments are for binary packets"),
        ('50-["e"]', "attachments are for binary packets"),
        ('61["e"]', "attachments are for binary packets"),
        (f'511-["e",{",".join(_HOLE % number for number in range(11))}]', "more than 10 attachments"),
        ('51-["e"]', "one placeholder"),
        (f'51-["e",{_HOLE % 1}]', "one placeholder"),
        (f'51-["e",{_HOLE % -1}]', "one placeholder"),
        (f'52-["e",{_HOLE % 0}]', "one placeholder"),
        (f'51-["e",{_HOLE % 0},{_HOLE % 0}]', "one placeholder"),
        ('51-["e",{"_placeholder":true}]', "one placeholder"),
        ('51-["e",{"_placeholder":true,"num":"0"}]', "one placeholder"),
        ('51-["e",{"_placeholder":true,"num":false}]', "one placeholder"),
        (f'51-["connect",{_HOLE % 0}]', "'connect' is reserved"),
        (f"51-[{_HOLE % 0}]", "begins with its name"),
        (f"51-{_HOLE % 0}", "begins with its name"),
        (f"61-[{_HOLE % 0}]", "an ACK has an id and a list"),
    ],
)
def test_what_no_client_sends_is_malformed(text: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        _read(text)


def test_attachments_take_the_places_that_the_packet_keeps_for_them() -> None:
    packet = _read(f'52-7["e",{{"a":[{_HOLE % 1}]}},{_HOLE % 0}]')
    assert (packet.id, packet.attachment_count) == (7, 2)
    assert not packet.add_attachment(b"first")
    assert packet.add_attachment(b"second")
    assert packet.data == ["e", {"a": [b"second"]}, b"first"]


def test_ten_attachments_are_taken() -> None:
    packet = _read(f'510-["e",{",".join(_HOLE % number for number in range(10))}]')
    assert [packet.add_attachment(b"%d" % number) for number in range(10)] == [False] * 9 + [True]
    assert packet.data[1:] == [b"%d" % number for number in range(10)]


def test_a_binary_ack_has_an_id_and_its_places() -> None:
    packet = _read(f"61-5[{_HOLE % 0}]")
    assert packet.add_attachment(b"x")
    assert (packet.packet_type, packet.id, packet.data) == (6, 5, [b"x"])


@pytest.mark.parametrize("depth", [50, 300, 1000, 5000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_however_deep_a_binary_packet_is_nested_it_is_read_to_its_end_or_malformed(
    depth: int, brackets: tuple[str, str]
) -> None:
    """What comes after must not fail on it either: python-socketio puts the attachments in their places recursively."""
    text = f'51-["e",{brackets[0] * depth}{_HOLE % 0}{brackets[1] * depth}]'
    try:
        packet = _read(text)
    except Malformed:
        assert depth > 50
        return
    assert packet.add_attachment(b"x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20) | st.text(max_size=3) | st.just({"_placeholder": True, "num": 0}),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "_placeholder", "num"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from("0123456"),
    st.sampled_from(["", "0-", "1-", "2-", "11-", "1", "-"]),
    st.sampled_from(["", "/,", "/admin,", "/"]),
    st.sampled_from(["", "0", "77", "9" * 200]),
    _JSON.map(json.dumps) | st.text(max_size=8),
)
def test_any_text_is_a_packet_or_malformed(kind: str, attachments: str, namespace: str, number: str, data: str) -> None:
    try:
        packet = _read(kind + attachments + namespace + number + data)
    except Malformed:
        return
    assert packet.packet_type == int(kind)
    count = packet.attachment_count
    for each in range(count):
        assert packet.add_attachment(b"%d" % each) == (each == count - 1)


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    try:
        _read(text)
    except Malformed:
        return
