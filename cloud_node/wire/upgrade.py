"""A websocket that may take over from polling: the probe, and what follows it.

The client sends ``2probe``, gets ``3probe``, waits until its poll is answered, and sends ``5``.  Anything else, or too
much time, ends the websocket, and polling goes on.

Source: the Engine.IO protocol, revision 4, "Upgrade".
"""

from typing import TYPE_CHECKING

from cloud_node.wire.connection import Connection, frame
from cloud_node.wire.wheel import NEVER

if TYPE_CHECKING:
    from cloud_node.wire.engine import Engine
    from cloud_node.wire.websocket import Websocket

_WITHIN_S = 10.0  # as the reference server's upgradeTimeout
_PROBE, _PROBED, _UPGRADE = "2probe", b"3probe", "5"


class Upgrade:
    """One attempt; it owns *websocket* until it succeeds."""

    def __init__(self, engine: "Engine", connection: Connection) -> None:
        self._engine = engine
        self._connection = connection
        self.probed = False
        self.websocket: Websocket | None = None
        self.slot = NEVER
        connection.upgrade = self
        engine.wheel.set(self, _WITHIN_S)

    def received(self, message: str | bytes) -> None:
        """See websocket.Owner."""
        if message == _PROBE and not self.probed and self.websocket is not None:
            self.probed = True
            # From now on packets wait for its end.
            self.websocket.write(frame(_PROBED))
            self._connection.release()
        elif message == _UPGRADE and self.probed and self.websocket is not None:
            self._engine.wheel.cancel(self)
            self._connection.adopt(self.websocket)
        else:
            self.give_up()

    def lost(self, *, by_client: bool, error: bool) -> None:  # noqa: ARG002
        """See websocket.Owner: polling goes on."""
        self.give_up()

    def overrun(self) -> None:
        """See websocket.Owner."""
        self.give_up()

    def due(self) -> None:
        """It took too long."""
        self.give_up()

    def give_up(self, code: int = 1002, said: str = "not upgraded") -> None:
        """Leave the connection to polling; a client on the websocket is told *code* and *said*."""
        self._engine.wheel.cancel(self)
        if self._connection.upgrade is self:
            self._connection.upgrade = None
            if self._connection.packets:
                self._connection.release()
        websocket, self.websocket = self.websocket, None
        if websocket is not None and websocket.owner is not None:
            websocket.finish(code, said)
