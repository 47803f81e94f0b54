"""What a client's websocket frames must not be, and what it is told then.  Pure.

Refuses to read frames: ``frames`` does, and asks here about a header or a Close payload.

Source: RFC 6455 §5.2 (header), §5.5 (control frames), §7.4 (close codes), and the IANA registry of close codes.
"""

PROTOCOL, BAD_TEXT, TOO_BIG = 1002, 1007, 1009
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

_OPCODES = frozenset({0, 1, 2, 8, 9, 10})
_SMALL = 125  # bytes: the longest payload of a control frame, and the longest whose length fits the second byte


class FrameError(Exception):
    """The client broke the protocol; ``code`` and ``reason`` are for the Close frame that tells it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def first_flaw(first: int, second: int) -> FrameError:
    """Say what is wrong with the first two bytes of a frame."""
    if first & 0x70:
        reason = "reserved bits"
    elif first & 0x0F not in _OPCODES:
        reason = f"opcode {first & 0x0F}"
    elif not second & 0x80:
        reason = "frame without a mask"
    else:
        reason = "long control frame" if first & 0x80 else "fragmented control frame"
    return FrameError(PROTOCOL, reason)


def length(field: bytes | memoryview | bytearray) -> int:
    """Read a length of two or eight bytes; raises FrameError for one that fewer bytes could say."""
    size = int.from_bytes(field, "big")
    if size >> 63:
        raise FrameError(PROTOCOL, "length with the top bit set")
    if size <= _SMALL or (len(field) > 2 and not size >> 16):  # noqa: PLR2004
        raise FrameError(PROTOCOL, "length in more bytes than it needs")
    return size


def check_close(payload: bytes) -> None:
    """Raise FrameError for a Close frame that says nonsense; an empty one is fine."""
    if payload and int.from_bytes(payload[:2], "big") not in CLOSE_CODES:  # which a single byte never is
        raise FrameError(PROTOCOL, "bad close code")
    text(payload[2:])


def text(payload: bytes | bytearray) -> str:
    """Decode strictly; raises FrameError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(BAD_TEXT, f"not UTF-8 at byte {error.start}") from None
