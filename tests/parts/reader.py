"""A Socket.IO client without our SDK that reads durable messages: it gives its cursors, and notes all it is told.

Refuses to reconnect, drop or reorder anything by itself: what a node sends twice is noted twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import socketio

from tests.parts.fleet import Node
from tests.parts.process import until

_WAIT_S = 10.0


class Reader:
    """One session, which answers each push with the Socket.IO ack; a context manager that leaves at its end."""

    def __init__(
        self,
        node: Node,
        key: str,
        *,
        resume: Mapping[str, Mapping[str, Any]] | None = None,
        rooms: Sequence[str] = (),
    ) -> None:
        self.key = key
        self.pushes: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.readies: list[dict[str, Any]] = []
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        self._client.on("push", self.pushes.append)
        self._client.on("gap", self.gaps.append)
        self._client.on("ready", self.readies.append)
        auth = {"key": key, "rooms": list(rooms)} | ({"resume": resume} if resume is not None else {})
        self._client.connect(node.url, auth=auth, transports=["websocket"], wait_timeout=_WAIT_S)
        until(lambda: bool(self.readies), _WAIT_S, f"ready for {key}")

    @property
    def msgs(self) -> list[Any]:
        """The messages so far."""
        return [push["msg"] for push in list(self.pushes)]

    @property
    def recovered(self) -> Any:
        """What ``ready`` said of the session's own key: True, False, or None when it had no cursor."""
        return self.readies[0]["recovered"].get(self.key)

    @property
    def cursors(self) -> dict[str, dict[str, Any]]:
        """Where it is in each key, by what it was told last."""
        places = {key: dict(place) for key, place in self.readies[0]["cursors"].items()}
        for told in (*list(self.gaps), *list(self.pushes)):
            if "offset" in told:
                places[told["key"]] = {"epoch": told["epoch"], "offset": told["offset"]}
        return places

    def wait_for(self, msgs: Sequence[Any], timeout_s: float = _WAIT_S) -> None:
        """Wait until as many messages have come, and compare."""
        try:
            until(lambda: len(self.pushes) >= len(msgs), timeout_s, f"{len(msgs)} messages")
        except AssertionError as late:
            raise AssertionError(f"{late}; came: {self.msgs}") from None
        assert self.msgs == list(msgs)

    def ask(self, event: str, *arguments: Any) -> Any:
        """Emit an event and wait for the node's answer to it."""
        return self._client.call(event, arguments, timeout=_WAIT_S)

    def leave(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
