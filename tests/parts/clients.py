"""A stock Socket.IO client whose events wait in queues, as a browser with nothing of ours in it would see them.

Refuses to reconnect by itself: a test that ends a session wants to see it ended.
"""

import queue
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import socketio
import structlog

from tests.parts.fleet import Node

WAIT_S = 5.0
WEBSOCKET = ("websocket",)
POLLING = ("polling",)
UPGRADE = ("polling", "websocket")

log = structlog.get_logger()


class Refused(AssertionError):
    """The node answered with a connect_error; *data* is what it carried."""

    def __init__(self, data: Any) -> None:
        self.data = data
        super().__init__(f"connect_error: {data}")


class Client:
    """One session.  Use it as a context manager, or close it."""

    def __init__(self, node: Node, auth: Any = None, transports: Sequence[str] = WEBSOCKET) -> None:
        self.node = node
        self._auth = auth
        self._transports = list(transports)
        self._pushes: queue.Queue[dict[str, Any]] = queue.Queue()
        self._readies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._refusals: queue.Queue[Any] = queue.Queue()
        self._ends: queue.Queue[str] = queue.Queue()
        self._sio = socketio.Client(reconnection=False, handle_sigint=False)
        self._sio.on("push", self._pushes.put)
        self._sio.on("ready", self._readies.put)
        self._sio.on("connect_error", self._refusals.put)
        self._sio.on("disconnect", self._ends.put)
        self.ready: dict[str, Any] = {}

    def open(self) -> Self:
        """Connect and wait for ``ready``; raises Refused with what a connect_error carried."""
        try:
            self._sio.connect(self.node.url, auth=self._auth, transports=self._transports, wait_timeout=WAIT_S)
        except socketio.exceptions.ConnectionError:
            raise Refused(self._refusals.get(timeout=WAIT_S)) from None
        self.ready = self._readies.get(timeout=WAIT_S)
        return self

    @property
    def key(self) -> str:
        """The key that the node says this session has."""
        return str(self.ready["key"])

    @property
    def transport(self) -> str:
        """What carries the session now."""
        return str(self._sio.transport())

    def next_push(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Wait for the next push; queue.Empty when none comes."""
        return self._pushes.get(timeout=timeout_s)

    def next_msg(self) -> Any:
        """Wait for the next push, and give only its message."""
        return self.next_push()["msg"]

    def pushes_so_far(self) -> list[dict[str, Any]]:
        """All that has come and was not taken yet, without waiting."""
        taken = []
        while True:
            try:
                taken.append(self._pushes.get_nowait())
            except queue.Empty:
                return taken

    def ask(self, event: str, *arguments: Any) -> Any:
        """Emit an event and wait for the node's answer to it."""
        return self._sio.call(event, arguments, timeout=WAIT_S)

    def until_ended(self, timeout_s: float = WAIT_S) -> str:
        """Wait until the session has ended; gives the reason."""
        return self._ends.get(timeout=timeout_s)

    @property
    def connected(self) -> bool:
        """Whether the session is there now."""
        return bool(self._sio.connected)

    def close(self) -> None:
        """End the session."""
        self._sio.disconnect()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
