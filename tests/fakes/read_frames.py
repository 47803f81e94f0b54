"""Reads a stream of frames to its end, or to the violation that it must have."""

import pytest

from cloud_node.wire.frames import TEXT, FrameError, Message, Reader
from tests.fakes.client_frames import frame

MAX = 100_000


def feed(reader: Reader, data: tuple[bytes, ...], out: list[Message]) -> None:
    """Feed all; raises FrameError."""
    for each in data:
        reader.feed(each, out)


def read(*data: bytes, max_bytes: int = MAX) -> list[Message]:
    """Give the messages of a stream that is right."""
    out: list[Message] = []
    feed(Reader(max_bytes), data, out)
    return out


def refused(*data: bytes, code: int, reason: str, max_bytes: int = MAX) -> list[Message]:
    """Read; gives what came out before the violation, which must have this code and reason."""
    reader, out = Reader(max_bytes), list[Message]()
    with pytest.raises(FrameError) as caught:
        feed(reader, data, out)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    reader.feed(frame(TEXT, b"after"), out)
    assert (TEXT, "after") not in out, "a reader that refused once reads no more"
    return out
