"""Websocket sessions that note when each message arrives.  Knows Engine.IO 4 and Socket.IO 5 just well enough.

A plain websocket rather than a Socket.IO client, so that what is measured is the server.
Source: the Engine.IO protocol, version 4, and the Socket.IO protocol, version 5.
"""

import json
import re
import threading
import time
from collections.abc import Callable

import websocket

_DEADLINE_S = 10.0
_PUSH = re.compile(r'42(?P<id>\d*)(?P<event>\["push")')  # one with an id wants an answer


class Session:
    """One session that answers to *key*; calls *arrived(message number, time)* on its own thread."""

    def __init__(self, url: str, key: str, arrived: Callable[[int, float], None]) -> None:
        self._arrived = arrived
        self._ready = threading.Event()
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        self._socket = websocket.create_connection(address, timeout=_DEADLINE_S)
        self._socket.recv()  # the Engine.IO handshake
        self._socket.send("40" + json.dumps({"key": key}))
        self._socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(_DEADLINE_S):
            raise TimeoutError(f"{url} did not say ready to {key} within {_DEADLINE_S} s")

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _read(self) -> None:
        try:
            while packet := str(self._socket.recv()):
                now = time.perf_counter()
                if packet == "2":
                    self._socket.send("3")
                elif push := _PUSH.match(packet):
                    self._arrived(json.loads(packet[push.start("event") :])[1]["msg"]["n"], now)
                    if push["id"]:
                        self._socket.send(f"43{push['id']}[]")
                elif packet.startswith('42["ready"'):
                    self._ready.set()
        except (websocket.WebSocketException, OSError):
            return  # closed; what has not arrived by then is counted as missing
