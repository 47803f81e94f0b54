"""Any messages, cut in any way, come out as they went in; any bytes are read as wsproto, the oracle, reads them."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from cloud_node.wire import frames
from cloud_node.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, Message, Reader
from tests.fakes.client_frames import frame

MAX = 1 << 17

masks = st.binary(min_size=4, max_size=4)
payloads = st.binary(max_size=300) | st.sampled_from([125, 126, 127, 65535, 65536, 70_000]).map(bytes)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
messages = st.tuples(st.just(TEXT), st.text(max_size=200)) | st.tuples(st.just(BINARY), payloads)


@dataclass
class Read:
    """What a reader made of a stream."""

    messages: list[Message]
    code: int | None = None


def chopped(draw: st.DrawFn, data: bytes, most: int) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=most)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Message], list[bytes]]:
    """Draw messages in order, and chunks that say them: fragmented, with control frames between, chopped."""
    expected: list[Message] = []
    stream = b""
    for opcode, payload in draw(st.lists(messages | controls, max_size=6)):
        raw = payload.encode() if isinstance(payload, str) else payload
        if opcode in (PING, PONG):
            stream += frame(opcode, raw, mask=draw(masks))
        else:
            parts = chopped(draw, raw, 4)
            for number, part in enumerate(parts):
                final = number == len(parts) - 1
                stream += frame(0 if number else opcode, part, final=final, mask=draw(masks))
                if not final:
                    for control in draw(st.lists(controls, max_size=2)):
                        expected.append(control)
                        stream += frame(*control, mask=draw(masks))
        expected.append((opcode, payload))
    return expected, chopped(draw, stream, 12)


@st.composite
def doubtful(draw: st.DrawFn) -> list[bytes]:
    """Draw chunks of frames that are mostly allowed."""
    stream = b""
    for _ in range(draw(st.integers(1, 6))):
        close = st.integers(990, 5010).map(lambda code: code.to_bytes(2, "big")) | st.binary(max_size=4)
        opcode = draw(st.sampled_from([0, 0, 0, TEXT, TEXT, BINARY, CLOSE, PING, PONG]) | st.integers(0, 15))
        stream += frame(
            opcode,
            draw(close if opcode == CLOSE else st.binary(max_size=130) | st.text(max_size=9).map(str.encode)),
            final=draw(st.sampled_from([True, True, False])),
            reserved=draw(st.sampled_from([0] * 9 + [1, 2, 4])),
            mask=draw(masks) if draw(st.integers(0, 9)) else None,
            width=draw(st.sampled_from([None] * 9 + [2, 8])),
        )
    return chopped(draw, stream, 8)


def ours(chunks: list[bytes]) -> Read:
    reader, read = Reader(MAX), Read([])
    try:
        for chunk in chunks:
            reader.feed(chunk, read.messages)
    except FrameError as error:
        read.code = error.code
    return read


def theirs(chunks: list[bytes]) -> Read:
    protocol, read = FrameProtocol(client=False, extensions=[]), Read([])
    parts: list[Any] = []
    event: Any
    try:
        for chunk in chunks:
            protocol.receive_bytes(chunk)
            for event in protocol.received_frames():
                if event.opcode is Opcode.CLOSE:
                    code, reason = event.payload
                    payload = b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
                    read.messages.append((CLOSE, payload))
                elif event.opcode.iscontrol():
                    read.messages.append((int(event.opcode), bytes(event.payload)))
                else:
                    parts.append(event.payload)
                    if event.message_finished:
                        read.messages.append((int(event.opcode), type(parts[0])().join(parts)))
                        parts.clear()
    except ParseFailed as error:
        read.code = int(error.code)
    return read


def says_1014(chunks: list[bytes]) -> bool:
    """Whether the last frame may be a Close with a code that is newer than wsproto's list."""
    last: list[Message] = ours(chunks).messages[-1:]
    return last[:1] != [] and last[0][0] == CLOSE and bytes(last[0][1])[:2] == (1014).to_bytes(2, "big")  # type: ignore[arg-type]


@given(streams())
def test_any_messages_cut_in_any_way_come_out_as_they_went_in(drawn: tuple[list[Message], list[bytes]]) -> None:
    expected, chunks = drawn
    assert ours(chunks) == Read(expected)


def compare(chunks: list[bytes]) -> None:
    mine, other = ours(chunks), theirs(chunks)
    if says_1014(chunks):
        mine.messages.pop()
        assert other.code == 1002
    elif mine.code is not None:
        # wsproto may still wait for a mask or a payload that no longer matters; it looks into text before all is there.
        assert other.code in (mine.code, None, 1007)
    else:
        assert other.code in (None, 1007)
    assert mine.messages == other.messages


@given(doubtful())
def test_doubtful_frames_are_read_as_wsproto_reads_them(chunks: list[bytes]) -> None:
    compare(chunks)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_read_as_wsproto_reads_them(chunks: list[bytes]) -> None:
    compare(chunks)


@given(doubtful())
def test_chopping_changes_nothing(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    assert ours(chunks) == ours([stream]) == ours([stream[at : at + 1] for at in range(len(stream))])


@given(st.lists(payloads, max_size=4))
def test_what_we_write_a_client_reads(written: list[bytes]) -> None:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(b"".join(frames.encode(BINARY, payload) for payload in written))
    read, parts = [], bytearray()
    event: Any
    for event in protocol.received_frames():
        parts += event.payload
        if event.message_finished:
            read.append(bytes(parts))
            parts.clear()
    assert read == written
