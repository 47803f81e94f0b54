"""What waits to be written to one websocket, in order.

Exists only while something waits: a session whose socket takes everything at once has none.  A chunk is a run of whole
frames, shared by all sessions that wait for it, so a thousand slow readers of one room hold one copy.  Refuses to
decide how much may wait (connection.py does).
"""

import socket
from itertools import islice

from cloud_node.wire import frames

_BUFFERS = 512  # of one vectored write; the kernel's IOV_MAX is 1,024


class Outbox:
    """Chunks waiting for one socket.  *size* is their bytes that are not written yet."""

    __slots__ = ("_chunks", "_written", "size")

    def __init__(self, chunk: bytes, written: int = 0) -> None:
        """Begin with *chunk*, of which *written* bytes have gone out."""
        self._chunks = [chunk]
        self._written = written
        self.size = len(chunk) - written

    def put(self, chunk: bytes) -> None:
        """Add one after the others."""
        self._chunks.append(chunk)
        self.size += len(chunk)

    def write(self, sock: socket.socket) -> bool:
        """Write what the socket takes now; tells whether nothing is left.  Raises OSError when it is broken."""
        while self._chunks:
            offered, count = self._offer(sock)
            self.size -= count
            self._drop(count + self._written)
            if count < offered:
                return False
        return True

    def keep_only_begun_frame(self) -> None:
        """Forget all but the rest of a frame that is written in part, without which the stream would break."""
        if self._written:
            first = self._chunks[0]
            end = frames.boundary(first, self._written)
            self._chunks = [first[:end]]
            self.size = end - self._written
            self._drop(self._written)
        else:
            self._chunks, self.size = [], 0

    def _offer(self, sock: socket.socket) -> tuple[int, int]:
        """Offer the first chunks in one call; gives how many bytes, and how many were taken."""
        if len(self._chunks) == 1:  # as nearly always: one message for one session
            only: bytes | memoryview = self._chunks[0]
            if self._written:
                only = memoryview(only)[self._written :]
            try:
                return len(only), sock.send(only)
            except (BlockingIOError, InterruptedError):
                return 1, 0
        buffers: list[bytes | memoryview] = list(islice(self._chunks, _BUFFERS))
        if self._written:
            buffers[0] = memoryview(self._chunks[0])[self._written :]
        try:
            taken = sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return 1, 0
        return sum(map(len, buffers)), taken

    def _drop(self, count: int) -> None:
        """Forget chunks that are written: *count* bytes from the beginning of the first one."""
        done = 0
        for chunk in self._chunks:
            if count < len(chunk):
                break
            count -= len(chunk)
            done += 1
        del self._chunks[:done]
        self._written = count
