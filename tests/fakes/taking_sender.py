"""A transport without a wire: notes who took which event."""

from dataclasses import dataclass
from typing import Any

import orjson

from cloud_node.hub import Hub, Session
from cloud_node.wire.recipients import Recipients


@dataclass(eq=False)
class Connection:
    """Stands in for the wire's; the sender knows it by its session's sid."""

    sid: str
    closed: bool = False


class TakingSender:
    """Takes events for all connections but those in *slow*, whose sessions it ends as the transport does."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.slow: set[Session] = set()
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.ack_ids: list[int | None] = []

    def backlog(self, session: Session) -> int:
        del session
        return 0

    def emit(self, recipients: Recipients, event: str, data: object, ack_id: int | None = None) -> int:
        assert event == "push"
        self.ack_ids.append(ack_id)
        slow = {session.connection for session in self.slow}
        taken = 0
        for connection in recipients.connections:
            assert isinstance(connection, Connection)
            if connection in slow:
                self._hub.remove(connection.sid)
                continue
            self.got.append((connection.sid, orjson.loads(orjson.dumps(data))))
            taken += 1
        return taken

    @property
    def sids(self) -> list[str]:
        return [sid for sid, _ in self.got]
