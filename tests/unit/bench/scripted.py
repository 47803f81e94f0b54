"""A websocket server that sends bytes as the test says, cut where it says, and keeps what clients say."""

import queue
import socket
import struct
import threading

_DEADLINE_S = 10.0
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class ScriptedServer:
    """Takes one session, and says *greeting* once it is open."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_DEADLINE_S)
        self.port = self._listener.getsockname()[1]
        self.heard: queue.Queue[bytes] = queue.Queue()
        self._connection: socket.socket
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def send(self, data: bytes, piece: int = 0) -> None:
        """Send *data*, in pieces of that many bytes if it is given."""
        assert self._opened.wait(_DEADLINE_S)
        for first in range(0, len(data), piece or len(data)):
            self._connection.sendall(data[first : first + (piece or len(data))])

    def hears(self) -> bytes:
        """Give the next message of the client."""
        return self.heard.get(timeout=_DEADLINE_S)

    def close(self) -> None:
        """End the session."""
        self._listener.close()
        if self._opened.is_set():
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(_DEADLINE_S)
        if self._opened.is_set():
            self._connection.close()

    def _serve(self) -> None:
        self._connection, _ = self._listener.accept()
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._connection.makefile("rb") as stream:
            while stream.readline() != b"\r\n":
                pass
            self._connection.sendall(UPGRADED + self._greeting)
            self._opened.set()
            while len(head := stream.read(2)) == 2:
                length = head[1] & 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", stream.read(2))
                mask = stream.read(4)
                self.heard.put(bytes(byte ^ mask[i % 4] for i, byte in enumerate(stream.read(length))))


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """One frame of a server, with the shortest length field that fits."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + struct.pack("!H", size)
    else:
        length = b"\x7f" + struct.pack("!Q", size)
    return bytes([0x80 | opcode]) + length + payload
