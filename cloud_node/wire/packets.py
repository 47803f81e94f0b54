"""Socket.IO packets read strictly: what a client may send, and nothing else.  Pure.

python-socketio takes packets at their word.  An event called ``connect`` would run the handler of connects again, one
called ``disconnect`` would make a session deaf while it stays connected; a binary event that lies about its
attachments swallows all that follows.  Refuses those, as socket.io-parser does for Node: whoever sends such a packet
is not a Socket.IO client, and its connection ends.  Only a CONNECT is always answered, so that its sender learns why.

Source: the Socket.IO protocol, revision 5 (github.com/socketio/socket.io-protocol).
"""

from collections.abc import Iterator
from typing import Any

from socketio import packet

_RESERVED = frozenset({"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"})
_NO_OBJECT = "not an object"
_FROM_CLIENTS = frozenset("012356")  # all but CONNECT_ERROR
_BINARY = frozenset("56")
_EVENTS = frozenset("25")
_MOST_ATTACHMENTS = 10  # as socket.io-parser's default
_DEEPEST = 100  # python-socketio goes through it recursively, to put the attachments in their places


class Malformed(ValueError):
    """What came is no packet that a client may send; the text says why."""


class StrictPacket(packet.Packet):  # type: ignore[misc]
    """A packet; decoding raises Malformed, except for a CONNECT, whose payload then is a text instead of an object."""

    def decode(self, encoded_packet: Any) -> int:
        """See socketio.packet.Packet; gives how many attachments follow."""
        kind = encoded_packet[:1]
        if kind not in _FROM_CLIENTS:
            raise Malformed(f"packet of type {kind!r}: no client sends that")
        try:
            attachments: int = super().decode(encoded_packet)
        except ValueError as error:
            if kind != "0":
                raise Malformed(f"not a packet: {error}") from None
            self.data = _NO_OBJECT
            return 0
        if kind == "0":
            self._mark_what_is_no_object(attachments)
            return 0
        if self.namespace not in (None, "/"):
            raise Malformed("a packet for a namespace that nobody joined")
        self._check_attachments(kind, attachments)
        if kind == "1":
            if self.data is not None or self.id is not None:
                raise Malformed("a DISCONNECT has no data")
        elif kind in _EVENTS:
            self._check_event()
        elif self.id is None or not isinstance(self.data, list):
            raise Malformed("an ACK has an id and a list")
        return attachments

    def _check_attachments(self, kind: str, attachments: int) -> None:
        if (attachments > 0) != (kind in _BINARY):
            raise Malformed("attachments are for binary packets, which have some")
        if attachments > _MOST_ATTACHMENTS:
            raise Malformed(f"more than {_MOST_ATTACHMENTS} attachments")
        if attachments and sorted(_placeholders(self.data)) != list(range(attachments)):
            raise Malformed("each attachment has one placeholder")

    def _mark_what_is_no_object(self, attachments: int) -> None:
        # Without this python-socketio would take false, "" and [] for no auth at all, and digits for an ack id.
        if attachments or self.id is not None or not isinstance(self.data, dict | None):
            self.data = _NO_OBJECT

    def _check_event(self) -> None:
        if not isinstance(self.data, list) or not self.data or not isinstance(self.data[0], str):
            raise Malformed("an event is a list that begins with its name")
        if self.data[0] in _RESERVED:
            raise Malformed(f"the event name {self.data[0]!r} is reserved")


def _placeholders(data: Any, depth: int = 0) -> Iterator[int]:
    """Give the numbers of all placeholders; -1 for one that has no number.  Raises Malformed for too deep a nesting."""
    if depth > _DEEPEST:
        raise Malformed(f"a binary packet nested deeper than {_DEEPEST} levels")
    if isinstance(data, dict):
        if data.get("_placeholder"):
            number = data.get("num")
            yield number if type(number) is int else -1
        else:
            for value in data.values():
                yield from _placeholders(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            yield from _placeholders(value, depth + 1)
