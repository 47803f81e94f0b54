"""Polling payloads: what a client may send in one body, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.wire.payload import Malformed, decode, encode


def test_packets_are_joined_and_split_at_the_record_separator() -> None:
    assert encode([b"4hello", b"2", b"bAQID"]) == b"4hello\x1e2\x1ebAQID"
    assert decode(b"4hello\x1e3\x1e1\x1ebAQID") == ["4hello", "3", "1", b"\1\2\3"]


@pytest.mark.parametrize(
    ("body", "packet"),
    [
        (b"4", "4"),
        (b"b", b""),
        ("4\u20ac\U0001f600".encode(), "4\u20ac\U0001f600"),
        (b"4b", "4b"),
        (b"bTQ==", b"M"),
    ],
)
def test_one_packet_needs_no_separator(body: bytes, packet: str | bytes) -> None:
    assert decode(body) == [packet]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "packet ''"),
        (b"4a\x1e", "packet ''"),
        (b"\x1e4a", "packet ''"),
        (b"4a\x1e\x1e4b", "packet ''"),
        (b"0{}", "packet '0{}'"),
        (b"2", "packet '2'"),
        (b"5", "packet '5'"),
        (b"6", "packet '6'"),
        (b"7x", "packet '7x'"),
        (b"hello", "packet 'hello'"),
        (b"b*", "bad base64"),
        (b"bA", "bad base64"),
        (b"bAQ ID", "bad base64"),
        ("b\u00e9".encode(), "bad base64"),
        (b"4\xff", "not UTF-8 at byte 1"),
        (b"4\xed\xa0\x80", "not UTF-8 at byte 1"),
    ],
)
def test_a_body_with_anything_that_a_client_may_not_send_is_refused_whole(body: bytes, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(body)
    assert (str(caught.value), caught.value.status) == (why, "400 Bad Request")
    with pytest.raises(Malformed):
        decode(b"4good\x1e" + body)


def test_a_refusal_shows_no_more_than_the_beginning() -> None:
    with pytest.raises(Malformed) as caught:
        decode(b"x" * 1000)
    assert len(str(caught.value)) < 60


def test_one_body_has_at_most_a_thousand_packets() -> None:
    assert len(decode(b"\x1e".join([b"3"] * 1000))) == 1000
    with pytest.raises(Malformed, match="more than 1000 packets"):
        decode(b"\x1e".join([b"3"] * 1001))


_PACKETS = st.one_of(
    st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"])).map(lambda text: "4" + text),
    st.sampled_from(["1", "3"]),
    st.binary(),
)


@given(st.lists(_PACKETS, min_size=1, max_size=20))
def test_what_is_encoded_as_the_protocol_says_is_read_back(packets: list[str | bytes]) -> None:
    encoded = [each.encode() if isinstance(each, str) else b"b" + base64.b64encode(each) for each in packets]
    assert decode(encode(encoded)) == packets


@given(st.binary())
def test_any_body_is_read_or_malformed(body: bytes) -> None:
    try:
        packets = decode(body)
    except Malformed:
        return
    assert packets
