"""A TCP forwarder that can be cut: while it is, no byte passes and no connection closes, as when a switch dies.

Refuses to drop a byte: when the cut ends, connections go on where they were, unless somebody gave them up meanwhile.

Threads: one accepts; each connection has one for each direction.  They wait for :meth:`heal` with what they hold in
their hands, so a connection made during a cut is taken by the system, and served after it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536
_LONGEST_CUT_S = 120.0


class Gate:
    """Listens on a port of its own from its making until :meth:`close`, and forwards to *target* on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let nothing pass within the block."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """Take no more connections; those that are there end with their peers."""
        self._open.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._open.wait(_LONGEST_CUT_S)
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as far:
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
            back.start()
            self._pump(near, far)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._open.wait(_LONGEST_CUT_S)
                target.sendall(data)
        # Either side's end is the end of both, but it is not heard of during a cut either.
        self._open.wait(_LONGEST_CUT_S)
        for side in (source, target):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
