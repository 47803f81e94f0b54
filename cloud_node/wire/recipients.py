"""Who gets a message: connections, in a list that never changes.  Pure."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cloud_node.wire.websocket import Websocket


class Recipient(Protocol):
    """What a sweep needs of a connection."""

    websocket: "Websocket | None"
    closed: bool

    def put(self, chunk: bytes, packets: list[bytes]) -> "Websocket | None":
        """Take *packets*, framed in *chunk*; gives a websocket that now has to be written."""


class Recipients:
    """A list of connections that never changes; made anew when a key's sessions do."""

    __slots__ = ("_members", "connections")

    def __init__(self, connections: list[Recipient]) -> None:
        self.connections = connections
        self._members: frozenset[Recipient] | None = None

    def __len__(self) -> int:
        return len(self.connections)

    def __contains__(self, connection: Recipient) -> bool:
        if self._members is None:
            self._members = frozenset(self.connections)
        return connection in self._members
