"""Socket.IO packets read strictly: what a client of ours may send, and nothing else.  Pure.

python-socketio takes packets at their word.  An event called ``connect`` would run the handler of connects again, one
called ``disconnect`` would make a session deaf while it stays connected; a binary event that lies about its
attachments swallows all that follows.  Refuses those, as socket.io-parser does for Node: whoever sends such a packet
is not a Socket.IO client, and its connection ends.  Only a CONNECT is always answered, so that its sender learns why.

Source: the Socket.IO protocol, revision 5 (github.com/socketio/socket.io-protocol).
"""

from typing import Any

from socketio import packet

_RESERVED = frozenset({"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"})
_NO_OBJECT = "not an object"


class Malformed(ValueError):
    """What came is no packet that a client may send; the text says why."""


class StrictPacket(packet.Packet):  # type: ignore[misc]
    """A packet; decoding raises Malformed, except for a CONNECT, whose payload then is a text instead of an object."""

    uses_binary_events = False  # our payloads are JSON, so nobody need look for bytes in them

    def decode(self, encoded_packet: Any) -> int:
        """See socketio.packet.Packet."""
        kind = encoded_packet[:1]
        if kind not in ("0", "1", "2"):
            raise Malformed(f"packet of type {kind!r}: a client sends only 0, 1 and 2")
        try:
            attachments: int = super().decode(encoded_packet)
        except ValueError as error:
            if kind != "0":
                raise Malformed(f"not a packet: {error}") from None
            self.data = _NO_OBJECT
            return 0
        if kind == "0":
            self._mark_what_is_no_object(attachments)
        elif attachments:
            raise Malformed("attachments in a packet that has none")
        elif kind == "2":
            self._check_event()
        return 0

    def _mark_what_is_no_object(self, attachments: int) -> None:
        # Without this python-socketio would take false, "" and [] for no auth at all, and digits for an ack id.
        if attachments or self.id is not None or not isinstance(self.data, dict | None):
            self.data = _NO_OBJECT

    def _check_event(self) -> None:
        if not isinstance(self.data, list) or not self.data or not isinstance(self.data[0], str):
            raise Malformed("an event is a list that begins with its name")
        if self.data[0] in _RESERVED:
            raise Malformed(f"the event name {self.data[0]!r} is reserved")
