"""What the fuzzer of a live node says on a new connection, by kind: one run of bytes each, made from a seeded dice.

Each begins with something that is right, so as to come far, and then goes wrong.
"""

import json
import random
from collections.abc import Callable

from tests.fakes.client_frames import frame
from tests.fuzz.frames import edited
from tests.fuzz.wire_inputs import HEAD

_PACKETS = [
    b"40",
    b'40{"key":"fuzz","rooms":["a"]}',
    b"40/admin,",
    b'42["join","a"]',
    b'427["leave","a"]',
    b'4212["accept",[1,2,3]]',
    b'42["ack",{"fuzz":7}]',
    b'451-["join",{"_placeholder":true,"num":0}]',
    b'461-3[{"_placeholder":true,"num":0}]',
    b"437[]",
    b'44{"message":"no"}',
    b"41",
    b"1",
    b"2",
    b"2probe",
    b"3",
    b"3probe",
    b"5",
    b"6",
    b"4",
    b"",
    b"bAAEC",
]
_PAYLOADS = [b"\x1e".join(_PACKETS[at : at + 3]) for at in range(len(_PACKETS))]
_FRAMES = [
    frame(1, b'40{"key":"fuzz"}') + frame(1, b'42["join","a"]') + frame(9, b"p") + frame(8, b"\x03\xe8bye"),
    frame(1, b"40") + frame(1, b'42["jo', final=False) + frame(9) + frame(0, b'in","b"]') + frame(2, bytes(300)),
    frame(1, b"40") + frame(1, b'451-["x",{"_placeholder":true,"num":0}]') + frame(2, b"\0\1\2") + frame(1, b"3"),
]
_PLAIN = [
    b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40",
    b"POST /socket.io/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    HEAD,
]
_METHODS = ["GET", "GET", "POST", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "get", "GET\t"]
_HEADERS = [
    "Origin: http://localhost:8000",
    "Origin: http://evil.example",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Connection: close",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Version: 8",
    "Accept-Encoding: gzip",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999",
    "Content-Type: text/plain",
]


def raw(dice: random.Random, sid: str) -> bytes:
    """Anything, and requests that are broken anywhere."""
    if not dice.randrange(4):
        return dice.randbytes(dice.choice((1, 10, 100, 9000)))
    return edited(dice.choice(_PLAIN), dice, _PLAIN)


def requests(dice: random.Random, sid: str) -> bytes:
    """Requests that are HTTP, and wrong as Engine.IO."""
    query = {
        "EIO": dice.choice(("4", "4", "4", "3", "", "%34")),
        "transport": dice.choice(("polling", "polling", "websocket", "flash", "")),
        "sid": dice.choice((sid, sid, "", "nobody", sid[:-1], sid + "%00")),
    }
    target = "/socket.io/?" + "&".join(
        f"{name}={value}" for name, value in query.items() if dice.randrange(8) and value
    )
    head = [f"{dice.choice(_METHODS)} {target} HTTP/1.1", "Host: a", *dice.sample(_HEADERS, dice.randrange(5))]
    body = dice.choice(_PAYLOADS)
    if dice.randrange(3):
        head.append(f"Content-Length: {len(body) + dice.choice((0, 0, 0, 1, -1))}")
    return "\r\n".join([*head, "", ""]).encode() + body


def frames(dice: random.Random, sid: str) -> bytes:
    """A websocket whose frames are broken."""
    return HEAD + edited(dice.choice(_FRAMES), dice, _FRAMES)


def packets(dice: random.Random, sid: str) -> bytes:
    """A websocket whose frames are right and whose packets are not."""
    said = [b"40"] if dice.randrange(4) else []
    for _ in range(dice.randrange(6)):
        packet = dice.choice(_PACKETS)
        said.append(packet if dice.randrange(3) else edited(packet, dice, _PACKETS))
    return HEAD + b"".join(frame(1 if dice.randrange(6) else 2, packet) for packet in said)


def bodies(dice: random.Random, sid: str) -> bytes:
    """A POST to a session, whose payload is broken."""
    body = dice.choice(_PAYLOADS)
    if dice.randrange(3):
        body = edited(body, dice, _PAYLOADS)
    head = (
        f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def polls(dice: random.Random, sid: str) -> bytes:
    """One or more GETs of a session, over one connection."""
    return f"GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * dice.choice(
        (1, 1, 2)
    )


def upgrades(dice: random.Random, sid: str) -> bytes:
    """A websocket for a session that polls, which goes through with it or not."""
    said = dice.choice(([b"2probe", b"5", b"40"], [b"2probe"], [b"5"], [b"2probe", b"2probe"], [b"2probe", b"5", b"5"]))
    if not dice.randrange(3):
        said = [edited(packet, dice, _PACKETS) for packet in said]
    head = HEAD.replace(b"websocket HTTP", f"websocket&sid={sid} HTTP".encode())
    return head + b"".join(frame(1, packet) for packet in said)


def _polling(method: str, sid: str, header: str = "") -> bytes:
    return f"{method} /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode()


KINDS: dict[str, Callable[[random.Random, str], bytes]] = {
    kind.__name__: kind for kind in (raw, requests, frames, packets, bodies, polls, upgrades)
}


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """Cut what is sent, seldom more than twice."""
    cuts = sorted(dice.randint(0, len(data)) for _ in range(dice.choice((0, 0, 1, 2))))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def sid_of(body: bytes) -> str:
    """Read a handshake."""
    return str(json.loads(body[1:])["sid"])
