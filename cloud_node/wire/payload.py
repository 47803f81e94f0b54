"""Polling payloads: several packets in one HTTP body.  Pure.

Refuses a body with anything that a client may not send, whole.

Source: the Engine.IO protocol, revision 4: packets are separated by U+001E, a binary message is ``b`` and its base64.
"""

import base64
import binascii

_SEPARATOR = "\x1e"
_MOST = 1000  # packets in one body
_SHOWN = 40


class Malformed(ValueError):
    """The body is no payload that a client may send; the text says why, *status* how HTTP says it."""

    def __init__(self, why: str, status: str = "400 Bad Request") -> None:
        super().__init__(why)
        self.status = status


def encode(packets: list[bytes]) -> bytes:
    """Join packets into one body."""
    return b"\x1e".join(packets)


def decode(body: bytes) -> list[str | bytes]:
    """Split a body into packets, text as str and binary messages as bytes; raises Malformed."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    packets = text.split(_SEPARATOR)
    if len(packets) > _MOST:
        raise Malformed(f"more than {_MOST} packets")
    return [_packet(packet) for packet in packets]


def _packet(packet: str) -> str | bytes:
    kind = packet[:1]
    if kind == "b":
        try:
            return base64.b64decode(packet[1:], validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("bad base64") from None
    if kind not in ("1", "3", "4"):
        raise Malformed(f"packet {packet[:_SHOWN]!r}")
    return packet
