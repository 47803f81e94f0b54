"""One Engine.IO connection: its transport, its heartbeat, what came and waits to be handled, and how it ends.

Takes the place of engineio's Socket for python-engineio's server, without its queue, writer greenlet and ping greenlet.
While it polls, *packets* wait here for the next GET; on a websocket they go straight to it.

Interleavings (one native thread; greenlets switch only where it says so):

1. *A message comes while the one before is still handled* (a handler may wait, for the store for example): it waits in
   the inbox, and the same greenlet handles it next, so order holds; past ``_MAX_INBOX`` the websocket is read no more
   until all is handled, which makes the client's TCP wait.
2. *It ends while a handler waits*: the handler goes on and finds its session gone; the rest of the inbox is dropped.
3. *A packet comes during an upgrade*: between the probe and the UPGRADE it waits with the others, and goes to the
   websocket in one chunk, before anything later; if the upgrade fails it goes to the next poll.
4. *A second GET while one waits, a GET whose client has gone*: the connection ends, as the protocol wants.

Source: the Engine.IO protocol, revision 4 (github.com/socketio/engine.io-protocol).
"""

import base64
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
from eventlet.event import Event

from cloud_node.wire import frames
from cloud_node.wire.outbox import Outbox
from cloud_node.wire.websocket import Websocket
from cloud_node.wire.wheel import NEVER

if TYPE_CHECKING:
    from cloud_node.wire.engine import Engine
    from cloud_node.wire.upgrade import Upgrade

CLOSE, PING, NOOP = b"1", b"2", b"6"
_MAX_INBOX = 64
_SLICE_S = 0.005  # after this long on one client's messages the hub serves the others
_SHOWN = 40

log = structlog.get_logger()


def frame(packet: bytes) -> bytes:
    """Make a packet, in the form it has in a polling payload, a websocket frame."""
    if packet[:1] == b"b":
        return frames.encode(frames.BINARY, base64.b64decode(packet[1:]))
    return frames.encode(frames.TEXT, packet)


class Overlap(Exception):
    """A second GET came while one waited."""


class Connection:
    """An Engine.IO connection; *sid* is its Engine.IO session id.  The hub's thread only."""

    __slots__ = (
        "_awaits_pong",
        "_engine",
        "_farewell",
        "_inbox",
        "_poller",
        "closed",
        "packets",
        "session",
        "sid",
        "slot",
        "upgrade",
        "waiting",
        "websocket",
    )

    def __init__(self, engine: "Engine", sid: str) -> None:
        self._engine = engine
        self.sid = sid
        self.websocket: Websocket | None = None
        self.upgrade: Upgrade | None = None  # what may take over from polling
        self.packets: list[bytes] = []
        self.waiting = 0  # bytes of them
        self.closed = False
        self.slot = NEVER
        self.session: dict[str, Any] | None = None  # python-engineio keeps its users' data here
        self._awaits_pong = False
        self._farewell = ""  # why it ends as soon as the inbox is empty
        self._poller: Event | None = None
        self._inbox: deque[str | bytes] | None = None

    # Out.

    def put(self, chunk: bytes, packets: list[bytes]) -> Websocket | None:
        """See fanout.Recipient: leave *packets*, framed in *chunk*, in order behind what waits."""
        websocket = self.websocket
        if websocket is None:
            if not self.closed and not self._farewell:
                self._keep(packets)
            return None
        if websocket.outbox is None:
            websocket.outbox = Outbox(chunk)
            return websocket
        websocket.write(chunk)
        return None

    def send(self, packet: Any) -> None:
        """Send an engineio packet; python-engineio's server calls this."""
        self._engine.fanout.send(self, packet.encode(b64=True).encode())

    def _keep(self, packets: list[bytes]) -> None:
        self.packets += packets
        self.waiting += sum(map(len, packets))
        if self.waiting > self._engine.limit:
            self.overrun()
        elif not self._upgrading:
            self.release()

    @property
    def backlog(self) -> int:
        """Bytes that wait for the client."""
        outbox = None if self.websocket is None else self.websocket.outbox
        return self.waiting if outbox is None else outbox.size

    @property
    def would_wait(self) -> bool:
        """Whether a poll would have to wait now."""
        return not self.packets and not self.closed and not self._upgrading and self._poller is None

    @property
    def _upgrading(self) -> bool:
        """Whether packets wait for a websocket that has sent its probe."""
        return self.upgrade is not None and self.upgrade.probed

    def poll(self) -> list[bytes]:
        """Give what waits, or wait for it (switches greenlets), until a ping comes or it ends; raises Overlap."""
        if self._poller is not None:
            raise Overlap
        if self.would_wait:
            self._poller = Event()
            try:
                self._poller.wait()
            finally:
                self._poller = None
        if self._upgrading:
            return [NOOP]
        packets, self.packets, self.waiting = self.packets, [], 0
        return packets or [NOOP]

    def release(self) -> None:
        """Answer the GET that waits, if one does, with what there is, be it nothing."""
        if self._poller is not None and not self._poller.ready():
            self._poller.send(None)

    def adopt(self, websocket: Websocket) -> None:
        """Take *websocket* for its transport: an upgrade is complete, or it begins with one."""
        websocket.owner = self
        self.websocket, self.upgrade = websocket, None
        packets, self.packets, self.waiting = self.packets, [], 0
        if packets:
            websocket.write(b"".join(map(frame, packets)))
        self.release()

    # In.

    def received(self, message: str | bytes) -> None:
        """Take one packet off the wire; one that a client may not send ends the connection."""
        if self.closed:
            return  # by what came before it in the same body
        kind = message[:1]
        if isinstance(message, bytes):
            self._take(message)
        elif kind == "4":
            self._take(message[1:])
        elif kind == "3":
            self._pong()
        elif kind == "1":
            self._end_after_inbox(self._engine.reason.CLIENT_DISCONNECT)
        else:
            log.info("malformed packet: closed", reason=f"packet {message[:_SHOWN]!r}")
            self.end(self._engine.reason.TRANSPORT_ERROR, code=1002, said="malformed packet")

    def received_all(self, packets: list[str | bytes]) -> None:
        """Take the packets of one POST and handle them (may switch greenlets)."""
        self._inbox = deque()  # nobody else handles what comes now
        for packet in packets:
            self.received(packet)
        self._work()

    def _take(self, message: str | bytes) -> None:
        if self._inbox is None:
            self._inbox = deque((message,))
            self._engine.spawn(self._work)
            return
        self._inbox.append(message)
        if len(self._inbox) > _MAX_INBOX and self.websocket is not None:
            self.websocket.pause()

    def _work(self) -> None:
        """Handle what has come, in order; a handler may switch greenlets, and so does this when it takes long."""
        began = time.monotonic()
        try:
            while self._inbox and not self.closed:
                self._engine.tell_message(self.sid, self._inbox.popleft())
                if time.monotonic() - began > _SLICE_S:
                    self._engine.pause()
                    began = time.monotonic()
        finally:
            self._inbox = None
            if self._farewell:
                self.end(self._farewell)
            elif self.websocket is not None:
                self.websocket.resume()

    # Heartbeat.

    def due(self) -> None:
        """Time to ping, or to find that no pong has come, or that nobody fetches a last word."""
        if self.closed:
            self._engine.has_left(self)
        elif self._awaits_pong and self._inbox is not None:
            # Its client is not read while what it said is handled: the pong may be among what waits.
            self._engine.wheel.set(self, self._engine.ping_timeout_s)
        elif self._awaits_pong:
            self.end(self._engine.reason.PING_TIMEOUT, said="ping timeout")
        elif not self._engine.is_joined(self.sid):
            log.info("no namespace joined: closed")
            self.end(self._engine.reason.TRANSPORT_ERROR, code=1008, said="no CONNECT came")
        else:
            self._awaits_pong = True
            self._engine.ping(self)

    def _pong(self) -> None:
        if self._awaits_pong:
            self._awaits_pong = False
            self._engine.wheel.set(self, self._engine.ping_interval_s)

    # The end.

    def _end_after_inbox(self, reason: str) -> None:
        """End in good order: what the client said before it left still counts."""
        if self._inbox is None:
            self.end(reason)
        else:
            self._farewell = reason

    def lost(self, *, by_client: bool, error: bool) -> None:
        """See websocket.Owner."""
        reason = self._engine.reason
        if by_client and not error:
            self.websocket = None
            self._end_after_inbox(reason.TRANSPORT_CLOSE)
        else:
            self.end(reason.TRANSPORT_CLOSE if by_client else reason.TRANSPORT_ERROR)

    def overrun(self) -> None:
        """See websocket.Owner: end, since its client is too far behind."""
        if not self.closed:
            self._engine.count_slow(self.sid)
            self.packets = []
            self.end(self._engine.reason.TRANSPORT_ERROR)

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:  # noqa: ARG002
        """End it from here, once what waits is written; python-engineio's server calls this.  Never waits."""
        self.end(reason or self._engine.reason.SERVER_DISCONNECT)

    def end(self, reason: str, *, code: int = 1000, said: str = "") -> None:
        """End, once; a client on a websocket is told *code* and *said*, one that polls gets a last packet."""
        if reason == self._engine.reason.SERVER_DISCONNECT and not self.closed:
            self._engine.fanout.settle(self)  # what it was handed before, a caller was told that it has
        if self.closed:
            return
        self.closed = True
        websocket, self.websocket = self.websocket, None
        upgrade, self.upgrade = self.upgrade, None
        self._engine.forget(self, reason)
        if upgrade is not None:
            upgrade.give_up(code, said)
        if websocket is not None:
            if websocket.owner is not None:  # else it is ending already, and told us
                websocket.finish(code, said)
        else:
            ours, theirs = self._engine.reason.SERVER_DISCONNECT, self._engine.reason.CLIENT_DISCONNECT
            # A CLOSE makes some clients give up for good; after a NOOP their next poll is refused, and they reconnect.
            self.packets.append(NOOP if reason in (ours, theirs) else CLOSE)
            if self._poller is None and reason == ours:
                self._engine.let_leave(self)  # it has done nothing wrong: it gets what waits
            self.release()
