"""Websocket frames: how messages are read, what is bounded, and how the server's own frames look."""

import gc
import sys
from typing import Any

import pytest

from cloud_node.wire import frames
from cloud_node.wire.frames import BINARY, PING, PONG, TEXT, Reader
from tests.fakes.client_frames import frame
from tests.fakes.read_frames import MAX, read, refused

# RFC 6455 §5.7


def test_the_masked_hello_of_the_rfc() -> None:
    assert read(bytes.fromhex("818537fa213d7f9f4d5158")) == [(TEXT, "Hello")]


def test_the_pong_of_the_rfc() -> None:
    assert read(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [(PONG, b"Hello")]


def test_the_servers_frames_are_those_of_the_rfc() -> None:
    assert frames.encode(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frames.encode(PING, b"Hello") == bytes.fromhex("890548656c6c6f")
    assert frames.encode(BINARY, bytes(256)) == bytes.fromhex("827e0100") + bytes(256)
    assert frames.encode(BINARY, bytes(65536)) == bytes.fromhex("827f0000000000010000") + bytes(65536)


def test_a_length_takes_the_fewest_bytes() -> None:
    assert [len(frames.encode(TEXT, bytes(n))) - n for n in (0, 125, 126, 65535, 65536)] == [2, 2, 4, 4, 10]


def test_a_long_control_frame_is_not_made() -> None:
    with pytest.raises(ValueError, match="126"):
        frames.encode(PING, bytes(126))


# Close frames of ours


def test_a_close_frame_says_code_and_reason() -> None:
    assert frames.close(1001, "drain") == b"\x88\x07\x03\xe9drain"


@pytest.mark.parametrize(
    ("reason", "cut"), [("x" * 200, "x" * 123), ("é" * 100, "é" * 61), ("x" + "😀" * 40, "x" + "😀" * 30)]
)
def test_a_reason_is_cut_between_characters(reason: str, cut: str) -> None:
    assert frames.close(1000, reason)[4:].decode() == cut


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_code_that_must_not_be_sent_is_not(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        frames.close(code, "")


# Boundaries


def test_a_boundary_is_the_end_of_the_frame_that_is_under_way() -> None:
    run = [frames.encode(TEXT, bytes(size)) for size in (0, 1, 125, 126, 70_000, 3)]
    chunk, ends = b"".join(run), [0]
    for each in run:
        ends.append(ends[-1] + len(each))
    for sent in {near for end in ends for near in (end - 1, end, end + 1) if 0 <= near <= len(chunk)}:
        assert frames.boundary(chunk, sent) == min(end for end in ends if end >= sent)
        assert frames.boundary(memoryview(chunk), sent) == frames.boundary(chunk, sent)


@pytest.mark.parametrize(("chunk", "sent"), [(b"", 1), (b"\x81\x01a", 4), (b"\x81\x05a", 1), (b"\x81\x01a\x81", 4)])
def test_what_is_no_run_of_frames_has_no_boundary(chunk: bytes, sent: int) -> None:
    with pytest.raises(ValueError, match="no frame ends"):
        frames.boundary(chunk, sent)


# Messages


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 65535, 65536])
def test_a_message_of_any_size_is_unmasked(size: int) -> None:
    payload = bytes(at * 7 & 0x7F for at in range(size))
    assert read(frame(TEXT, payload)) == [(TEXT, payload.decode())]
    assert read(frame(BINARY, payload)) == [(BINARY, payload)]


def test_a_read_may_hold_many_frames() -> None:
    assert read(frame(TEXT, b"2") + frame(BINARY, b"\xff") + frame(TEXT, "é".encode())) == [
        (TEXT, "2"),
        (BINARY, b"\xff"),
        (TEXT, "é"),
    ]


def test_a_frame_may_come_byte_by_byte() -> None:
    stream = frame(TEXT, b"a" * 300) + frame(PING, b"p") + frame(BINARY, bytes(70_000)) + frame(TEXT, b"")
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == read(stream)


def test_fragments_are_joined_and_control_frames_pass_between_them() -> None:
    stream = [
        frame(TEXT, b"\xc3", final=False),
        frame(PING, b"in between"),
        frame(0, b"", final=False),
        frame(0, b"\xa9"),
        frame(BINARY, b"1", final=False),
        frame(0, b"2"),
    ]
    assert read(*stream) == read(b"".join(stream)) == [(PING, b"in between"), (TEXT, "é"), (BINARY, b"12")]


def test_what_came_out_outlives_the_buffer_it_was_read_from() -> None:
    buffer = bytearray(frame(BINARY, b"kept") + frame(BINARY, b"rest")[:3])
    reader, out = Reader(MAX), list[frames.Message]()
    reader.feed(memoryview(buffer), out)
    buffer[:] = bytes(len(buffer))
    reader.feed(frame(BINARY, b"rest")[3:], out)
    assert out == [(BINARY, b"kept"), (BINARY, b"rest")]


def test_an_empty_read_is_nothing() -> None:
    assert read(b"", frame(TEXT, b"a")[:4], b"", frame(TEXT, b"a")[4:], b"") == [(TEXT, "a")]


# Bounds


@pytest.mark.parametrize("max_bytes", [5, 125, 126, 1000, 70_000])
def test_a_message_of_the_most_bytes_passes_and_one_more_is_refused_at_the_header(max_bytes: int) -> None:
    assert read(frame(BINARY, bytes(max_bytes)), max_bytes=max_bytes) == [(BINARY, bytes(max_bytes))]
    assert read(frame(TEXT, bytes(max_bytes)), max_bytes=max_bytes) == [(TEXT, "\0" * max_bytes)]
    head = frame(TEXT, claims=max_bytes + 1)[:-4]
    refused(head, code=1009, reason=f"message over {max_bytes} bytes", max_bytes=max_bytes)
    whole = frame(TEXT, bytes(max_bytes + 1))
    refused(whole, code=1009, reason=f"message over {max_bytes} bytes", max_bytes=max_bytes)


def test_the_bound_is_on_the_sum_of_the_fragments() -> None:
    parts = frame(TEXT, b"123", final=False), frame(0, b"45", final=False)
    assert read(*parts, frame(0, b""), max_bytes=5) == [(TEXT, "12345")]
    head = frame(0, claims=1)[:2]
    refused(*parts, head, code=1009, reason="message over 5 bytes", max_bytes=5)


def test_control_frames_do_not_count() -> None:
    assert read(frame(TEXT, b"123", final=False), frame(PING, bytes(9)), frame(0, b"4"), max_bytes=4)[1] == (
        TEXT,
        "1234",
    )


def test_empty_fragments_without_end_are_refused() -> None:
    most = [frame(TEXT, final=False), *[frame(0, final=False)] * (frames.MAX_FRAGMENTS - 1)]
    assert read(*most[:-1], frame(0, b"end")) == [(TEXT, "end")]
    refused(*most, frame(0, final=False), code=1009, reason=f"message in over {frames.MAX_FRAGMENTS} fragments")


def test_a_bound_on_fragments_is_one_message_long() -> None:
    message = [frame(TEXT, final=False), *[frame(0, final=False)] * (frames.MAX_FRAGMENTS - 2), frame(0, b"end")]
    assert read(b"".join(message) * 2) == [(TEXT, "end")] * 2


def test_a_frame_that_dribbles_in_is_looked_at_a_few_times_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look: Any = Reader._read

    def counted(*args: Any) -> Any:
        looks.append(args)
        return look(*args)

    monkeypatch.setattr(Reader, "_read", counted)
    stream = frame(BINARY, bytes(70_000))
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == [(BINARY, bytes(70_000))]
    assert len(looks) == 4, "at the first byte, the second, the whole length, the whole frame"


@pytest.mark.parametrize(
    "stream",
    [
        [],
        [frame(TEXT, b"a")],
        [frame(TEXT, b"a" * 300)],
        [frame(TEXT, b"a")[:3], frame(TEXT, b"a")[3:]],
        [frame(TEXT, b"a", final=False), frame(0, b"b")],
        [frame(PING, b"a")],
    ],
)
def test_a_reader_with_nothing_pending_holds_nothing(stream: list[bytes]) -> None:
    reader = Reader(MAX)
    for each in stream:
        reader.feed(each, [])
    assert sys.getsizeof(reader) <= 48
    assert [held for held in gc.get_referents(reader) if held not in (MAX, None, Reader)] == []
