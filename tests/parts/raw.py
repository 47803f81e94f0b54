"""Engine.IO and Socket.IO by hand, for what no decent client would send.

Refuses to repair anything: what is given goes out as it is, what comes in is given back as it came.
"""

import json
from types import TracebackType
from typing import Any, Self

import websocket

from tests.parts.fleet import Node

WAIT_S = 5.0


class RawWebSocket:
    """One Engine.IO connection over websocket, opened; no Socket.IO connect yet."""

    def __init__(self, node: Node, query: str = "EIO=4&transport=websocket") -> None:
        url = f"{node.url.replace('http', 'ws', 1)}/socket.io/?{query}"
        self._socket = websocket.create_connection(url, timeout=WAIT_S)
        self.opened: dict[str, Any] = json.loads(self.receive()[1:])

    def send(self, frame: str | bytes) -> None:
        """Send one frame."""
        if isinstance(frame, bytes):
            self._socket.send_binary(frame)
        else:
            self._socket.send(frame)

    def receive(self) -> str:
        """Wait for the next frame; websocket.WebSocketTimeoutException when none comes."""
        frame = self._socket.recv()
        return frame.decode() if isinstance(frame, bytes) else str(frame)

    def connect(self, auth: str = "{}") -> dict[str, Any]:
        """Connect in Socket.IO; gives what ``ready`` said."""
        self.send("40" + auth)
        answer = self.receive()
        assert answer.startswith('40{"sid":'), answer
        event, ready = json.loads(self.receive()[2:])
        assert event == "ready"
        return dict(ready)

    def is_closed_by_the_node(self) -> bool:
        """Whether the node closes the connection, orderly and without another frame, within the wait."""
        frame: Any = self._socket.recv_frame()  # type: ignore[no-untyped-call]  # recv would answer it
        return bool(frame.opcode == websocket.ABNF.OPCODE_CLOSE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close(timeout=0)
