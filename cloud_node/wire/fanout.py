"""Fan-out: one packet to many connections, written once each pass, in order.

A packet for many is framed once.  What is emitted while a pass is under way joins the next one: the frames for the same
recipients become one chunk, and each socket gets it in one write.  So a popular key costs what its passes cost, not
what its messages cost, and at light load, when nothing else is under way, a message is written at once.

Order per connection is the order of the calls of :meth:`Fanout.emit` and :meth:`Fanout.send`, over all of this:

1. At most one *span* is open: recipients, and the packets for exactly those recipients.  A packet for others first
   *settles* it: its chunk goes to each recipient's outbox (a list append, no system call), and what comes later is
   appended behind.
2. At most one *sweep* is under way: a span that is being written, connection by connection.  It pauses between slices,
   so that the hub serves others.  What is emitted in a pause to the same recipients opens the next span, which is
   written after the sweep.  What is emitted to others that may share a connection settles the rest of the sweep first.
3. A packet for one connection that is in no span and has nothing waiting is written at once, also in a pause.
4. A connection that is closed, upgraded or behind when the sweep gets to it decides for itself what becomes of the
   chunk (connection.py); recipients are a list that nobody changes, so a disconnect in mid-sweep is harmless.
5. Whoever finds a flush under way leaves its packets to it: the one that flushes goes on until nothing is left.

All of it runs on the hub's thread; only :meth:`Fanout.flush` switches greenlets.  Refuses to know about keys.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import structlog

from cloud_node.wire.recipients import Recipient, Recipients
from cloud_node.wire.websocket import Websocket

_ENOUGH = 256 * 1024  # bytes gathered: well below what may wait for a session, which has then had none of it
_SLICE = 32  # connections between two looks at the clock

log = structlog.get_logger()


class Fanout:
    """Writes packets to connections.  *pause* lets other greenlets run; *frame* makes a packet a websocket frame."""

    def __init__(
        self,
        frame: Callable[[bytes], bytes],
        pause: Callable[[], None],
        slice_s: float = 0.005,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frame = frame
        self._pause = pause
        self._slice_s = slice_s
        self._clock = clock
        self._open: Recipients | None = None
        self._packets: list[bytes] = []
        self._sweep: _Sweep | None = None
        self._unwritten: deque[Websocket] = deque()
        self._gathering = False
        self._gathered = 0  # bytes of packets since the last begin
        self._flushing = False

    @property
    def full(self) -> bool:
        """Whether so much is gathered that it should be written before more comes."""
        return self._gathered >= _ENOUGH

    def begin(self) -> None:
        """Gather what is emitted from now on, until :meth:`flush`."""
        self._gathering = True
        self._gathered = 0

    def emit(self, recipients: Recipients, packet: bytes) -> None:
        """Hand *packet* to all of *recipients*.  Does not switch greenlets between begin and flush."""
        if len(recipients.connections) == 1:
            self.send(recipients.connections[0], packet)
            return
        self._gathered += len(packet)
        if self._open is recipients:
            self._packets.append(packet)
        else:
            if self._open is not None or (self._sweep is not None and self._sweep.recipients is not recipients):
                self._settle()
            self._open, self._packets = recipients, [packet]
        if not self._gathering:
            self.flush()

    def send(self, connection: Recipient, packet: bytes) -> None:
        """Hand *packet* to one connection.  Does not switch greenlets."""
        self._gathered += len(packet)
        self.settle(connection)
        websocket = connection.websocket
        if websocket is not None and not self._gathering:
            websocket.write(self._frame(packet))
        elif (websocket := connection.put(self._frame(packet), [packet])) is not None:
            self._unwritten.append(websocket)

    def flush(self) -> None:
        """Write what was gathered; pauses between slices.  Only a greenlet may call it, not the hub itself."""
        self._gathering = False
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._open is not None or self._unwritten:
                self._write_outboxes()
                if self._open is not None:
                    self._write_span()
        finally:
            self._flushing = False

    def settle(self, connection: Recipient) -> None:
        """Leave in its outbox what it was handed and has not got, for something else must come after that."""
        if self._is_due(connection):
            self._settle()

    def _is_due(self, connection: Recipient) -> bool:
        """Tell whether the open span or the sweep holds something for it."""
        if self._open is not None and connection in self._open:
            return True
        return self._sweep is not None and connection in self._sweep.recipients

    def _settle(self) -> None:
        """Move what the sweep and the open span hold into the outboxes, in this order."""
        if self._sweep is not None:
            self._sweep.put_rest(self._unwritten)
        if self._open is not None:
            span = self._close_span()
            span.put_rest(self._unwritten)

    def _close_span(self) -> "_Sweep":
        assert self._open is not None  # noqa: S101
        packets, recipients = self._packets, self._open
        self._open, self._packets = None, []
        chunk = self._frame(packets[0]) if len(packets) == 1 else b"".join(map(self._frame, packets))
        return _Sweep(recipients, packets, chunk)

    def _write_span(self) -> None:
        self._sweep = self._close_span()
        began = self._clock()
        try:
            while self._write_slice(self._sweep):
                if self._clock() - began > self._slice_s:
                    self._pause()
                    began = self._clock()
        finally:
            if self._sweep is not None:
                self._sweep.put_rest(self._unwritten)  # nobody, unless the pause was the end of this greenlet
            self._sweep = None

    def _write_slice(self, sweep: "_Sweep") -> bool:
        try:
            return sweep.write_slice(self._unwritten)
        except Exception as error:
            # One connection's trouble is not the others'; the sweep is past it already.
            log.exception("writing to a connection failed", reason=repr(error))
            return True

    def _write_outboxes(self) -> None:
        began = self._clock()
        while self._unwritten:
            for _ in range(min(_SLICE, len(self._unwritten))):
                self._unwritten.popleft().flush()
            if self._clock() - began > self._slice_s:
                self._pause()
                began = self._clock()


class _Sweep:
    """A span that is being written: what, to whom, and how far it has come."""

    __slots__ = ("_chunk", "_packets", "_rest", "recipients")

    def __init__(self, recipients: Recipients, packets: list[bytes], chunk: bytes) -> None:
        self.recipients = recipients
        self._packets = packets
        self._chunk = chunk
        # One iterator for all: whoever settles the sweep, even from within a slice, takes what this one has not taken.
        self._rest: Iterator[Recipient] = iter(recipients.connections)

    def write_slice(self, unwritten: deque[Websocket]) -> bool:
        """Write to the next few; tells whether there were any."""
        chunk, size = self._chunk, len(self._chunk)
        connection = None
        for connection in islice(self._rest, _SLICE):
            websocket = connection.websocket
            if websocket is not None and websocket.outbox is None:
                # The fast path of the whole project: nothing waits, so the socket is written from here.
                try:
                    written = websocket.sock.send(chunk)
                except OSError as error:
                    websocket.failed(error, chunk)
                else:
                    if written < size:
                        websocket.hold(chunk, written)
            else:
                late = connection.put(chunk, self._packets)
                if late is not None:
                    unwritten.append(late)
        return connection is not None

    def put_rest(self, unwritten: deque[Websocket]) -> None:
        """Leave the chunk in the outbox of everybody who has not got it."""
        for connection in self._rest:
            websocket = connection.put(self._chunk, self._packets)
            if websocket is not None:
                unwritten.append(websocket)
