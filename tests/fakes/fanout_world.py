"""A fan-out to connections on real sockets, that pauses after every slice, and does there what a test has put in."""

from collections import deque
from collections.abc import Callable

from cloud_node.wire.connection import Connection, frame
from cloud_node.wire.fanout import Fanout
from cloud_node.wire.recipients import Recipients
from tests.fakes.rig import Rig
from tests.fakes.wire import Peer, fill


class FanoutWorld:
    """*count* connections; their numbers stand for them."""

    def __init__(self, count: int) -> None:
        self.rig = Rig()
        self.framed: list[bytes] = []
        self.pauses = 0
        self.in_pauses: deque[Callable[[], None]] = deque()
        self._now = 0.0
        self.fanout = self.rig.engine.fanout = Fanout(self._frame, self._pause, slice_s=0.5, clock=self._clock)
        self.connections: list[Connection] = []
        self.peers: list[Peer] = []
        for _ in range(count):
            connection, peer = self.rig.websocket()
            self.connections.append(connection)
            self.peers.append(peer)
        self.everybody = self.group(*range(count))

    def _frame(self, packet: bytes) -> bytes:
        self.framed.append(packet)
        return frame(packet)

    def _clock(self) -> float:
        self._now += 1
        return self._now

    def _pause(self) -> None:
        self.pauses += 1
        if self.in_pauses:
            self.in_pauses.popleft()()

    def group(self, *numbers: int) -> Recipients:
        return Recipients([self.connections[number] for number in numbers])

    def emit(self, recipients: Recipients, *packets: str) -> None:
        for packet in packets:
            self.fanout.emit(recipients, packet.encode())

    def send(self, number: int, packet: str) -> None:
        self.fanout.send(self.connections[number], packet.encode())

    @property
    def texts(self) -> list[list[str]]:
        return [peer.texts for peer in self.peers]

    @property
    def is_idle(self) -> bool:
        it = self.fanout
        return (it._open, it._packets, it._sweep, list(it._unwritten), it._flushing) == (None, [], None, [], False)

    def fill(self, number: int) -> int:
        """Fill a connection's socket from outside, unless something waits already; gives how many zeros."""
        websocket = self.connections[number].websocket
        assert websocket is not None
        return fill(websocket.sock) if websocket.outbox is None else 0
