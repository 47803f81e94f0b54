"""The server's end of a TCP connection whose other end is a test: it takes what has room, and not one byte more.

A socket so that it has a file descriptor of its own; nothing ever goes through the kernel.
"""

import errno
import socket
from collections.abc import Iterable
from typing import Any

_HEAD_FITS = 4096  # no kernel's buffer is so small that it would not take the answer to a handshake


class ScriptedSocket(socket.socket):
    """*capacity* bounds the bytes that were written and that the client has not read yet."""

    def __init__(self, capacity: int = _HEAD_FITS) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.capacity = capacity
        self.unread = bytearray()  # by the client
        self.said = bytearray()  # by the client, and not read by the server
        self.client_is_done = False  # it has sent FIN
        self.broken = False  # it has sent RST
        self.is_done = False  # the server has sent FIN

    @property
    def is_readable(self) -> bool:
        """Whether a selector would say so."""
        return bool(self.said) or self.client_is_done or self.broken

    @property
    def is_writable(self) -> bool:
        """Whether a selector would say so."""
        return self.broken or len(self.unread) < self.capacity

    def send(self, data: Any, _flags: int = 0) -> int:
        """Take what there is room for."""
        return self.sendmsg([data])

    def sendmsg(self, buffers: Iterable[Any], *_: Any) -> int:
        """Take what there is room for."""
        self._raise_if_dead()
        if self.is_done:
            raise BrokenPipeError
        data = b"".join(buffers)
        taken = data[: max(0, self.capacity - len(self.unread))]
        if data and not taken:
            raise BlockingIOError
        self.unread += taken
        return len(taken)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Give what the client has said."""
        self._raise_if_dead()
        if not self.said and not self.client_is_done:
            raise BlockingIOError
        data = bytes(self.said[:size])
        if not flags & socket.MSG_PEEK:
            del self.said[:size]
        return data

    def shutdown(self, _how: int) -> None:
        """Send FIN."""
        self._raise_if_dead()
        self.is_done = True

    def close(self) -> None:
        """Send FIN, read no more."""
        self.is_done = True
        super().close()

    def _raise_if_dead(self) -> None:
        if self.fileno() < 0:
            raise OSError(errno.EBADF, "closed")
        if self.broken:
            raise ConnectionResetError
