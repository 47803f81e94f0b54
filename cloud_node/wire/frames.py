"""Websocket frames: what a server reads off a client's connection and writes to it.  Pure: bytes in, messages out.

Refuses whatever RFC 6455 does not allow a client to send, at the first byte that shows it, and any extension: none is
negotiated.  A Reader takes a connection's bytes in the order in which they came, from one greenlet at a time.

Source: RFC 6455 §5.
"""

from struct import Struct

from cloud_node.wire.violations import CLOSE_CODES, PROTOCOL, TOO_BIG, FrameError, check_close, first_flaw, length, text

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "FrameError", "Reader", "boundary", "close", "encode"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

MAX_FRAGMENTS = 1024  # of one message; browsers cut at 64 KiB or more, if at all

_SMALL = 125  # bytes: the longest payload whose length fits the second byte, and the longest of a control frame
_FINAL = 0x80
_MASKED = 0x80
_WIDE, _WIDEST = 126, 127  # the second byte's words for a length of two and of eight bytes
_FIRST = frozenset({0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A})  # the first bytes that a frame may have
_TWO, _EIGHT = Struct("!BBH"), Struct("!BBQ")
_MAX_REASON = _SMALL - 2

Message = tuple[int, str | bytes]


def encode(opcode: int, payload: bytes) -> bytes:
    """Give one final, unmasked frame; raises ValueError for a control frame that would be longer than 125 bytes."""
    size = len(payload)
    if size <= _SMALL:
        return bytes((_FINAL | opcode, size)) + payload
    if opcode >= CLOSE:
        raise ValueError(f"a control frame of {size} bytes")
    if size >> 16:
        return _EIGHT.pack(_FINAL | opcode, _WIDEST, size) + payload
    return _TWO.pack(_FINAL | opcode, _WIDE, size) + payload


def close(code: int, reason: str) -> bytes:
    """Give a Close frame, *reason* cut to what fits; raises ValueError for a code that must not be sent."""
    if code not in CLOSE_CODES:
        raise ValueError(f"close code {code}")
    cut = reason.encode()[:_MAX_REASON].decode(errors="ignore")  # ignores only the half character at the cut
    return encode(CLOSE, code.to_bytes(2, "big") + cut.encode())


def boundary(chunk: bytes | memoryview, sent: int) -> int:
    """Give the smallest end of a frame in *chunk* that is not below *sent*; 0 when nothing is sent.

    *chunk* is a run of whole frames as ``encode`` makes them.  Raises ValueError when it is none.
    """
    at, end = 0, len(chunk)
    while at < sent and at + 2 <= end:
        size = chunk[at + 1]
        if size <= _SMALL:
            at += 2 + size
        elif size == _WIDE:
            at += 4 + int.from_bytes(chunk[at + 2 : at + 4], "big")
        else:
            at += 10 + int.from_bytes(chunk[at + 2 : at + 10], "big")
    if not sent <= at <= end:
        raise ValueError(f"no frame ends between {sent} and {end}")
    return at


class _Unfinished:
    """What a Reader keeps between two reads, only while a frame or a message is not complete."""

    __slots__ = ("buffer", "fragments", "message", "need", "opcode", "over")

    def __init__(self, *, over: bool = False) -> None:
        self.buffer: bytearray | None = None  # a frame that has begun
        self.need = 0  # bytes in it before it is worth a look
        self.opcode = 0  # of the fragmented message under way, else 0
        self.message = bytearray()  # of its fragments so far
        self.fragments = 0
        self.over = over


_OVER = _Unfinished(over=True)


class Reader:
    """Turns one connection's bytes into messages.  What follows a Close frame or a violation is not looked at."""

    __slots__ = ("_max_bytes", "_unfinished")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._unfinished: _Unfinished | None = None

    def feed(self, data: bytes | memoryview, out: list[Message]) -> None:
        """Take bytes as they came; append what they complete to *out*: text as str, all else as bytes.

        Raises FrameError at the first violation; what came before it is in *out*.
        """
        size = len(data) - 6
        if (
            0 <= size <= _SMALL
            and self._unfinished is None
            and data[0] == _FINAL | TEXT
            and data[1] == size | _MASKED
            and size <= self._max_bytes
        ):
            try:
                out.append((TEXT, text(_unmasked(data, 6, size))))
            except FrameError:
                self._unfinished = _OVER
                raise
        elif data:
            self._feed_any(data, out)

    def _feed_any(self, data: bytes | memoryview | bytearray, out: list[Message]) -> None:
        state = self._unfinished or _Unfinished()
        if state.over:
            return
        if state.buffer is not None:
            state.buffer += data
            if len(state.buffer) < state.need:
                return
            data = state.buffer
        self._unfinished = _OVER  # unless all goes well
        at = self._read(state, data, out)
        if at < 0:
            return
        if at == len(data):
            state.buffer = None
        elif at or data is not state.buffer:
            state.buffer = bytearray(memoryview(data)[at:])
        self._unfinished = state if state.buffer is not None or state.opcode else None

    def _read(self, state: _Unfinished, data: bytes | memoryview | bytearray, out: list[Message]) -> int:
        """Take all complete frames; give where the first incomplete one begins, or -1 after a Close frame."""
        at, end = 0, len(data)
        while end - at >= 2:  # noqa: PLR2004
            first, size = data[at], data[at + 1] - _MASKED
            if first not in _FIRST or size < 0 or (first >= _FINAL | CLOSE and size > _SMALL):
                raise first_flaw(first, data[at + 1])
            start = at + 6
            if size > _SMALL:
                start += 2 if size == _WIDE else 8
                if end < start - 4:
                    state.need = start - 4 - at
                    return at
                size = length(data[at + 2 : start - 4])
            if first < _FINAL | CLOSE:
                self._admit(state, first & 0x0F, size)
            if end - start < size:
                state.need = start + size - at
                return at
            payload = _unmasked(data, start, size)
            at = start + size
            if first >= _FINAL | CLOSE:
                if first == _FINAL | CLOSE:
                    check_close(payload)
                    out.append((CLOSE, payload))
                    return -1
                out.append((first & 0x0F, payload))
            else:
                _take(state, first, payload, out)
        state.need = 2
        return at

    def _admit(self, state: _Unfinished, opcode: int, size: int) -> None:
        """Raise FrameError unless a data frame with this header may come now."""
        if (opcode == 0) != (state.opcode != 0):
            raise FrameError(PROTOCOL, "new message inside another" if opcode else "nothing to continue")
        if len(state.message) + size > self._max_bytes:
            raise FrameError(TOO_BIG, f"message over {self._max_bytes} bytes")
        if state.fragments >= MAX_FRAGMENTS:
            raise FrameError(TOO_BIG, f"message in over {MAX_FRAGMENTS} fragments")


def _take(state: _Unfinished, first: int, payload: bytes, out: list[Message]) -> None:
    """Take a data frame: the whole of a message, or a part."""
    opcode = state.opcode or first & 0x0F
    if not first & _FINAL:
        state.opcode = opcode
        state.message += payload
        state.fragments += 1
        return
    whole: bytes | bytearray = payload
    if state.opcode:
        state.message += payload
        whole = state.message
        state.opcode = state.fragments = 0
        state.message = bytearray()
    out.append((opcode, text(whole) if opcode == TEXT else bytes(whole)))


def _unmasked(data: bytes | memoryview | bytearray, start: int, size: int) -> bytes:
    """Give the payload that begins at *start*, behind its mask: as one number, since Python has no faster XOR."""
    mask = (bytes(data[start - 4 : start]) * ((size + 3) >> 2))[:size]
    number = int.from_bytes(data[start : start + size], "little") ^ int.from_bytes(mask, "little")
    return number.to_bytes(size, "little")
