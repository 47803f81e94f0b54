"""Websocket frames as a client writes them, and such as no client may write.

Refuses to share code with what is tested: the mask is applied byte by byte, as RFC 6455 §5.3 words it.
"""

MASK = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    width: int | None = None,
    claims: int | None = None,
) -> bytes:
    """Give one frame; *width* is the bytes of its length field (0, 2, 8; None: what fits), *claims* the length said."""
    size = len(payload) if claims is None else claims
    if width is None:
        width = 0 if size < 126 else 2 if size < 1 << 16 else 8
    short = size if width == 0 else 126 if width == 2 else 127
    head = bytes(((0x80 if final else 0) | reserved << 4 | opcode, (0 if mask is None else 0x80) | short))
    head += size.to_bytes(width, "big") if width else b""
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
