"""A TCP load balancer of the plainest kind: a new session goes to the node of the moment, an old one to its own.

Refuses to understand more of HTTP than session ids: it notes those that a node gives, and where a connection begins
with the request of a known session, it goes to that session's node.
"""

import re
import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 65_536
_GIVEN = re.compile(rb'"sid":"([^"]+)"')
_NAMED = re.compile(rb"[?&]sid=([^& ]+)")


class Forwarder:
    """Listens on a port of its own from its making to the end of its block."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._homes: dict[bytes, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def turn_to(self, port: int) -> None:
        """Send new sessions to *port* from now on."""
        self._port = port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            first = client.recv(_CHUNK)
            named = _NAMED.search(first.partition(b"\r\n")[0])
            port = self._homes.get(named[1], self._port) if named else self._port
            with socket.create_connection(("127.0.0.1", port)) as node:
                node.sendall(first)
                back = threading.Thread(target=self._pump, args=(node, client, port), daemon=True)
                back.start()
                self._pump(client, node)
                back.join()

    def _pump(self, source: socket.socket, target: socket.socket, port: int | None = None) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if port is not None and (given := _GIVEN.search(data)):
                    self._homes[given[1]] = port
                target.sendall(data)
        _hang_up(source, target)


def _hang_up(source: socket.socket, target: socket.socket) -> None:
    for one in (source, target):  # one side is gone: so is the other
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
