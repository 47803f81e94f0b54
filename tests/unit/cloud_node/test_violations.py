"""What no client may send: each rule of RFC 6455 §5 and §7.4, and what the client is told."""

import pytest

from cloud_node.wire.frames import BINARY, CLOSE, PING, PONG, TEXT
from tests.fakes.client_frames import frame
from tests.fakes.read_frames import read, refused


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_frame_without_a_mask_is_refused(opcode: int) -> None:
    refused(frame(opcode, b"", mask=None), code=1002, reason="frame without a mask")


@pytest.mark.parametrize("reserved", [1, 2, 4, 7])
@pytest.mark.parametrize("opcode", [0, TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits_are_refused(opcode: int, reserved: int) -> None:
    refused(frame(opcode, b"", reserved=reserved), code=1002, reason="reserved bits")


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcodes_are_refused(opcode: int) -> None:
    refused(frame(opcode), code=1002, reason=f"opcode {opcode}")


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_fragmented_control_frames_are_refused(opcode: int) -> None:
    refused(frame(opcode, final=False), code=1002, reason="fragmented control frame")


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_long_control_frames_are_refused_at_their_first_two_bytes(opcode: int) -> None:
    refused(frame(opcode, bytes(126))[:2], code=1002, reason="long control frame")


def test_a_ping_of_125_bytes_is_fine() -> None:
    assert read(frame(PING, bytes(125))) == [(PING, bytes(125))]


def test_a_continuation_of_nothing_is_refused() -> None:
    refused(frame(0, b"a"), code=1002, reason="nothing to continue")
    refused(frame(TEXT, b"a", final=False), frame(0), frame(0), code=1002, reason="nothing to continue")


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_inside_another_is_refused(opcode: int) -> None:
    refused(frame(TEXT, b"a", final=False), frame(opcode, b"b"), code=1002, reason="new message inside another")


@pytest.mark.parametrize(("claims", "width"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)])
def test_a_length_in_more_bytes_than_it_needs_is_refused_at_the_header(claims: int, width: int) -> None:
    head = frame(BINARY, claims=claims, width=width)[: 2 + width]
    refused(head, code=1002, reason="length in more bytes than it needs")


def test_a_length_with_its_top_bit_set_is_refused() -> None:
    refused(frame(BINARY, claims=1 << 63), code=1002, reason="length with the top bit set")


def test_what_came_before_a_violation_is_given() -> None:
    out = refused(frame(TEXT, b"a") + frame(PING) + frame(3) + frame(TEXT, b"b"), code=1002, reason="opcode 3")
    assert out == [(TEXT, "a"), (PING, b"")]


# Text


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a" * 300 + b"\xff"]
)
def test_text_that_is_not_utf_8_is_refused(text: bytes) -> None:
    at = len(text) - len(text.lstrip(b"a"))
    assert refused(frame(PING), frame(TEXT, text), code=1007, reason=f"not UTF-8 at byte {at}") == [(PING, b"")]
    refused(frame(TEXT, text, final=False), frame(0), code=1007, reason=f"not UTF-8 at byte {at}")
    assert read(frame(BINARY, text)) == [(BINARY, text)]


# Close frames of clients


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_a_close_with_a_code_of_the_registry_is_given_raw(code: int) -> None:
    payload = code.to_bytes(2, "big") + "tschüß".encode()
    assert read(frame(CLOSE, payload)) == [(CLOSE, payload)]


def test_a_close_may_be_empty() -> None:
    assert read(frame(CLOSE)) == [(CLOSE, b"")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
def test_a_close_with_another_code_is_refused(code: int) -> None:
    assert refused(frame(CLOSE, code.to_bytes(2, "big")), code=1002, reason="bad close code") == []


def test_a_close_of_one_byte_is_refused() -> None:
    refused(frame(CLOSE, b"\x03"), code=1002, reason="bad close code")


def test_a_close_whose_reason_is_not_utf_8_is_refused() -> None:
    refused(frame(CLOSE, b"\x03\xe8\xff"), code=1007, reason="not UTF-8 at byte 0")


def test_what_follows_a_close_is_not_looked_at() -> None:
    assert read(frame(CLOSE) + frame(3) + b"junk", frame(TEXT, b"a"), b"\xff" * 9) == [(CLOSE, b"")]


def test_a_close_inside_a_fragmented_message_ends_it() -> None:
    assert read(frame(TEXT, b"a", final=False), frame(CLOSE), frame(0, b"b")) == [(CLOSE, b"")]
