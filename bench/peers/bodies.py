"""The messages that every peer sends: a frame of 128 bytes that says when it was sent, and which one it is.

{"t":<CLOCK_MONOTONIC ns>,"n":<number>,"p":"xx…"} is the body; Socket.IO peers send it as cloudpush does, inside
42["push",{"op":9,"msg":<body>,"key":<key>,"push_id":""}].
"""

import time

FRAME_BYTES = 128  # a websocket frame's payload, as the browser sees it
ALL = "room:bench"
UNICAST_TURN = 500  # messages of a unicast run handed over between two turns of a peer's event loop
_AROUND = len('42["push",{"op":9,"msg":,"key":"","push_id":""}]')


def body(number: int, size: int, sent_ns: int | None = None) -> bytes:
    """Give a body of *size* bytes, sent now if *sent_ns* does not say otherwise."""
    head = f'{{"t":{time.monotonic_ns() if sent_ns is None else sent_ns},"n":{number},"p":"'
    return f'{head:x<{size - 2}}"}}'.encode()


def size_within(key: str) -> int:
    """Give the size of a body that makes a Socket.IO frame for *key* FRAME_BYTES long."""
    return FRAME_BYTES - _AROUND - len(key)
