"""A browser for tests: one Socket.IO session that notes every push, in order.

Refuses to hide anything: what arrives twice is noted twice.
"""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import socketio

from tests.parts.process import until

_READY_S = 20.0


class Listener:
    """A session on a node, made by :meth:`connect`; a context manager that leaves at its end.

    *reconnects* lets the stock client come back by itself, as browsers do.
    """

    def __init__(
        self,
        key: str,
        *,
        rooms: Iterable[str] = (),
        mid: str | None = None,
        transports: tuple[str, ...] = ("websocket",),
        reconnects: bool = False,
    ) -> None:
        self.key = key
        self.pushes: list[dict[str, Any]] = []
        self.readies: list[dict[str, Any]] = []
        self.connects = 0
        self.latencies: list[float] = []  # seconds, of pushes whose message is their time.monotonic()
        self.ready_at: list[float] = []
        self.left_at: list[float] = []
        self.refusals: list[Any] = []
        self._auth = {"key": key, "rooms": list(rooms)} | ({"mid": mid} if mid else {})
        self._transports = list(transports)
        self._client = socketio.Client(
            reconnection=reconnects, reconnection_delay=0.1, reconnection_delay_max=1, handle_sigint=False
        )
        self._client.on("push", self._pushed)
        self._client.on("ready", self._ready)
        self._client.on("connect", self._connected)
        self._client.on("connect_error", self.refusals.append)
        self._client.on("disconnect", lambda *_: self.left_at.append(time.monotonic()))

    def connect(self, url: str, *, ready: bool = True) -> Self:
        """Connect to *url*, and wait for ``ready`` unless told not to."""
        self._client.connect(url, auth=self._auth, transports=self._transports, wait_timeout=_READY_S)
        if ready:
            self.wait_ready(1)
        return self

    def wait_ready(self, times: int) -> None:
        """Wait until the session was told ``ready`` that many times in all."""
        until(lambda: len(self.readies) >= times, _READY_S, f"ready number {times} for {self.key}")

    @property
    def connected(self) -> bool:
        """Whether it is connected now."""
        return bool(self._client.connected)

    @property
    def node(self) -> str:
        """The incarnation that said ``ready`` last."""
        return str(self.readies[-1]["node"])

    def call(self, event: str, argument: object, timeout_s: float = 10.0) -> Any:
        """Send an event and give its answer."""
        return self._client.call(event, argument, timeout=timeout_s)

    def counts(self) -> Counter[str]:
        """How often each push arrived, by push_id."""
        return Counter(push["push_id"] for push in list(self.pushes))

    def wait_for(self, push_ids: Iterable[str], timeout_s: float) -> None:
        """Wait until all of *push_ids* have arrived."""
        wanted = set(push_ids)
        until(lambda: wanted <= self.counts().keys(), timeout_s, f"all {len(wanted)} pushes at {self.key}")

    def leave(self) -> None:
        """Disconnect for good."""
        self._client.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def _connected(self) -> None:
        self.connects += 1

    def _pushed(self, push: dict[str, Any]) -> None:
        if isinstance(push["msg"], float):
            self.latencies.append(time.monotonic() - push["msg"])
        self.pushes.append(push)

    def _ready(self, ready: dict[str, Any]) -> None:
        self.ready_at.append(time.monotonic())
        self.readies.append(ready)
