"""A node's Engine.IO wire by hand: HTTP requests whose answers may be read later, websocket frames of any form.

Refuses to repair, retry or answer anything by itself: pings are not answered, closes not echoed, what comes in is
given back as it came.  Order is made by :meth:`Wires.sync`, never by waiting: the node has one thread, and serves what
was on its sockets before a request before it answers that request.
"""

import http.client
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import cycle
from typing import Any

import grpc
import websocket

from proto import cloud_pb2, cloud_pb2_grpc
from tests.parts.fleet import Node
from tests.parts.http_wire import SEPARATOR, WAIT_S, Answer, Request

POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
NOOP = "6"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_CODE, NO_CLOSE_FRAME = 1005, 1006  # RFC 6455, section 7.4.1: never on the wire, so free to say this


class Connection:
    """What is the same over both transports: Socket.IO packets in their Engine.IO messages."""

    opened: dict[str, Any]

    def send(self, *packets: str | bytes) -> None:
        """Send packets."""
        raise NotImplementedError

    def receive(self) -> str:
        """Wait for the next packet."""
        raise NotImplementedError

    def connect(self, auth: str = "") -> dict[str, Any]:
        """Connect to the main namespace; gives what ``ready`` said."""
        self.send("40" + auth)
        answer = self.receive()
        assert answer.startswith('40{"sid":'), answer
        event, ready = json.loads(self.receive().removeprefix("42"))
        assert event == "ready", event
        return dict(ready)

    def ask(self, number: int = 77) -> None:
        """Show that the session works: an event that the node does not know is answered, and by nothing else."""
        self.send(f'42{number}["nosuch"]')
        answer = self.receive()
        assert answer.startswith(f'43{number}[{{"error":'), answer

    def next_msgs(self, count: int) -> list[Any]:
        """The messages of the next *count* packets, which must be pushes."""
        packets = [self.receive() for _ in range(count)]
        assert all(packet.startswith('42["push",') for packet in packets), packets
        return [json.loads(packet[2:])[1]["msg"] for packet in packets]


class Polling(Connection):
    """One Engine.IO session over long-polling, opened.  *key* is for a test to remember."""

    key: str

    def __init__(self, wires: "Wires", headers: Mapping[str, str] = {}) -> None:
        self._wires = wires
        answer = wires.request("GET", POLLING, headers=headers)
        (packet,) = answer.packets
        self.opened = json.loads(packet.removeprefix("0"))
        self.sid: str = self.opened["sid"]
        self.query = f"{POLLING}&sid={self.sid}"
        self._waiting: deque[str] = deque()

    def get(self) -> Answer:
        """Poll and wait for the answer."""
        return self._wires.request("GET", self.query)

    def poll(self) -> Request:
        """Poll; when this returns the node holds the request, or has answered it."""
        request = self._wires.begin("GET", self.query)
        self._wires.sync()
        return request

    def post(self, *packets: str | bytes) -> Answer:
        """Post packets as one payload; bytes go out as they are."""
        parts = [packet if isinstance(packet, bytes) else packet.encode() for packet in packets]
        return self._wires.request("POST", self.query, SEPARATOR.encode().join(parts))

    def send(self, *packets: str | bytes) -> None:
        """Post packets, which must be taken."""
        answer = self.post(*packets)
        assert answer.status == http.HTTPStatus.OK, (answer.status, answer.text)

    def is_gone(self) -> bool:
        """Whether the node knows nothing of it any more; a poll that is held says that it does."""
        try:
            return self.get().status == http.HTTPStatus.BAD_REQUEST
        except TimeoutError:
            return False

    def until_told_of_its_end(self) -> None:
        """Be told by a close packet, or at once by a 400, that the session is over."""
        while (answer := self.get()).status == http.HTTPStatus.OK:
            assert set(answer.packets) <= {"1", NOOP}, answer.text
        assert answer.status == http.HTTPStatus.BAD_REQUEST, answer

    def take(self, answer: Answer) -> None:
        """Have what a poll was answered with be received next."""
        self._waiting.extend(packet for packet in answer.packets if packet != NOOP)

    def receive(self) -> str:
        """The next packet that is no noop, of this poll or of a new one."""
        while not self._waiting:
            self.take(self.get())
        return self._waiting.popleft()


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One websocket frame (RFC 6455, section 5.2), whether a client may send it or not."""
    length, bit = len(data), 0x80 if masked else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([bit | length])
    else:
        head += struct.pack("!BH", bit | 126, length) if length < 1 << 16 else struct.pack("!BQ", bit | 127, length)
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(a ^ b for a, b in zip(data, cycle(mask), strict=False))


class WebSocket(Connection):
    """One websocket whose handshake was taken; nothing read yet.

    Raises websocket.WebSocketBadStatusException when it is refused.
    """

    def __init__(self, port: int, query: str, headers: Sequence[str] = ()) -> None:
        self._socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}/socket.io/?{query}", timeout=WAIT_S, header=list(headers), suppress_origin=True
        )

    @property
    def _tcp(self) -> socket.socket:
        assert self._socket.sock is not None, "closed by the test"
        return self._socket.sock

    @property
    def extensions(self) -> str | None:
        """What the node took of the extensions that it was offered."""
        headers: dict[str, str] = self._socket.headers or {}
        return headers.get("sec-websocket-extensions")

    def open(self) -> None:
        """Read the Engine.IO handshake."""
        self.opened = json.loads(self.receive().removeprefix("0"))

    def send(self, *packets: str | bytes) -> None:
        """Send each packet as a frame, all in one write; bytes as binary."""
        binary = {str: TEXT, bytes: BINARY}
        self.send_raw(b"".join(frame(binary[type(p)], p.encode() if isinstance(p, str) else p) for p in packets))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        with suppress(ConnectionError):  # what the node thinks of it is read, not seen in the sending
            self._tcp.sendall(data)

    def frame(self) -> tuple[int, bytes]:
        """Wait for the next frame; gives opcode and data."""
        try:
            got: Any = self._socket.recv_frame()  # type: ignore[no-untyped-call]
        except websocket.WebSocketTimeoutException:
            raise AssertionError(f"no frame within {WAIT_S:g} s, and not closed") from None
        assert got.fin, got
        return got.opcode, bytes(got.data)

    def receive(self) -> str:
        """Wait for the next packet that is no noop; it must be text."""
        while True:
            opcode, data = self.frame()
            assert opcode == TEXT, (opcode, data)
            if (packet := data.decode()) != NOOP:
                return packet

    def ended(self) -> int:
        """Wait until the node ends it, sending nothing more but pings; gives the close code.

        NO_CODE for a close frame without one, NO_CLOSE_FRAME when the connection just ends.
        """
        try:
            while True:
                opcode, data = self.frame()
                if opcode == CLOSE:
                    return int(struct.unpack("!H", data[:2])[0]) if data else NO_CODE
                assert (opcode, data) == (TEXT, b"2"), f"instead of a close: {opcode} {data[:200]!r}"
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return NO_CLOSE_FRAME

    def until_end_of_stream(self) -> None:
        """Wait until the node has closed the TCP connection; AssertionError when something else comes."""
        with suppress(ConnectionError):
            assert self._tcp.recv(1) == b""

    def close(self, *, orderly: bool = False) -> None:
        """Close the TCP connection, after a close frame if *orderly*."""
        if orderly:
            self.send_raw(frame(CLOSE, struct.pack("!H", 1000)))
        self._socket.close(timeout=0)


class Wires:
    """All connections that one test has to one node, closed with the test."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._open = ExitStack()

    def request(self, method: str, query: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Answer:
        """Send a request and wait for its answer."""
        return self.begin(method, query, body, headers).answer()

    def begin(self, method: str, query: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Request:
        """Send a request."""
        request = Request(self.node.socketio_port, method, query, body, headers)
        self._open.callback(request.close)
        return request

    def sync(self) -> None:
        """Return once the node has seen all that was sent to it before."""
        connection = http.client.HTTPConnection("127.0.0.1", self.node.socketio_port, timeout=WAIT_S)
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        connection.close()

    def polling(self) -> Polling:
        """Open a session over polling."""
        return Polling(self)

    def websocket(self, query: str = WEBSOCKET, headers: Sequence[str] = ()) -> WebSocket:
        """Open a websocket; nothing is read yet."""
        opened = WebSocket(self.node.socketio_port, query, headers)
        self._open.callback(opened.close)
        return opened

    def session(self, auth: str = "") -> WebSocket:
        """A connected session over websocket."""
        opened = self.websocket()
        opened.open()
        opened.connect(auth)
        return opened

    def probe(self, session: Polling) -> WebSocket:
        """A websocket of this session that has sent its probe and has the answer."""
        opened = self.websocket(f"{WEBSOCKET}&sid={session.sid}")
        opened.send("2probe")
        assert opened.receive() == "3probe"
        return opened

    def refused_websocket(self, query: str, headers: Sequence[str] = ()) -> int:
        """The status with which a websocket handshake is refused; 101 when it is taken but ended at once."""
        try:
            opened = self.websocket(query, headers)
        except websocket.WebSocketBadStatusException as refusal:
            return int(refusal.status_code)
        opened.ended()
        return 101

    def push(self, key: str, *msgs: Any) -> None:
        """Push over gRPC straight to the node; each must be delivered to one session."""
        with grpc.insecure_channel(self.node.grpc) as channel:
            stub = cloud_pb2_grpc.CloudStub(channel)  # type: ignore[no-untyped-call]
            for msg in msgs:
                proto = cloud_pb2.Proto(ver=1, op=9, body=json.dumps(msg).encode())
                reply = stub.PushMsg(cloud_pb2.PushMsgReq(keys=[key], proto=proto), timeout=WAIT_S)
                assert list(reply.sessions) == [1], reply

    def close(self) -> None:
        """Close all."""
        self._open.close()
