"""One websocket: reads frames off its socket and writes to it, without a greenlet of its own.

The reactor calls it when the socket is ready.  It answers pings and does the closing handshake by itself (RFC 6455
§5.5); messages go to its *owner*.  Refuses to know what they mean.

How it ends, each once:

- *finish*: what waits is written, then a Close frame with a code and a reason; then it waits for the client to close,
  discarding what still comes, for at most ``_LINGER_S``.  Closing at once would make the kernel throw away what the
  client has not read, the reason included.
- *overrun*: the client does not read.  What waits is forgotten, but for the rest of a frame that has begun, and the
  Close frame follows: whoever reads again learns why.
- *cut*: the socket is closed now.
"""

import socket
from typing import Protocol

import structlog

from cloud_node.wire import frames
from cloud_node.wire.frames import FrameError
from cloud_node.wire.outbox import Outbox
from cloud_node.wire.reactor import NOTHING, READ, WRITE, Reactor
from cloud_node.wire.wheel import NEVER, Wheel

_LINGER_S = 5.0
_READ_BYTES = 16384  # at once: whoever floods gets no more of the hub's time in one piece than these take
_NORMAL = 1000
TOO_SLOW = 1013  # "try again later" in the registry of close codes

log = structlog.get_logger()


class Owner(Protocol):
    """Whose websocket it is; none of these may switch greenlets."""

    def received(self, message: str | bytes) -> None:
        """A message has come."""

    def lost(self, *, by_client: bool, error: bool) -> None:
        """The websocket has ended, or the client asked it to; called once, and not for what the owner ended."""

    def overrun(self) -> None:
        """Its client does not read, and is being told so; called once, in place of *lost*."""


class Websocket:
    """A websocket over a non-blocking *sock*.  *limit* bounds the bytes that wait; past it the owner is told."""

    __slots__ = (
        "_events",
        "_limit",
        "_paused",
        "_reactor",
        "_reader",
        "_wheel",
        "ending",
        "outbox",
        "owner",
        "slot",
        "sock",
    )

    def __init__(
        self, sock: socket.socket, owner: Owner, reactor: Reactor, wheel: Wheel, *, limit: int, max_message: int
    ) -> None:
        self.sock = sock
        self.owner: Owner | None = owner
        self.outbox: Outbox | None = None
        self.ending = False
        self.slot = NEVER
        self._paused = False
        self._reactor = reactor
        self._wheel = wheel
        self._limit = limit
        self._reader = frames.Reader(max_message)
        self._events = NOTHING
        self._watch()

    # Reading.

    def readable(self) -> None:
        """Read once and pass on what is complete."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            log.debug("reading a websocket failed", reason=repr(error))
            data = b""
        if not data:
            self._tell_lost(by_client=True, error=not self.ending)
            self.cut()
        elif not self.ending:
            self._read(data)

    def _read(self, data: bytes) -> None:
        messages: list[frames.Message] = []
        flaw: FrameError | None = None
        ping: bytes | None = None
        try:
            self._reader.feed(data, messages)
        except FrameError as error:
            flaw = error
        for opcode, message in messages:
            if self.ending:
                return
            if opcode <= frames.BINARY:
                if self.owner is not None:
                    self.owner.received(message)
            elif opcode == frames.PING:
                ping = bytes(message)  # type: ignore[arg-type]
            elif opcode == frames.CLOSE:
                self._closed_by_client(bytes(message))  # type: ignore[arg-type]
                return
        if ping is not None:
            self.write(frames.encode(frames.PONG, ping))  # one for all that came together: RFC 6455 §5.5.3
        if flaw is not None and not self.ending:
            log.info("malformed frame: closed", code=flaw.code, reason=flaw.reason)
            self._tell_lost(by_client=False, error=True)
            self.finish(flaw.code, flaw.reason)

    def _closed_by_client(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") or _NORMAL
        self._tell_lost(by_client=True, error=False)
        self.finish(code, "")
        if self.outbox is None:
            self.cut()  # both sides have said so; the server closes first (RFC 6455 §7.1.1)

    def pause(self) -> None:
        """Read no more for now: its owner is behind."""
        self._paused = not self.ending
        self._watch()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._watch()

    # Writing.

    def write(self, chunk: bytes) -> None:
        """Write whole frames, behind what waits; past the limit its client is cut off with a reason.

        What comes after it began to end is dropped.
        """
        if self.outbox is not None and self.outbox.size + len(chunk) > self._limit:
            self.flush()
        if self.ending:
            return  # nothing follows a Close frame
        if self.outbox is not None:
            self.outbox.put(chunk)
            self._check_limit()
        else:
            try:
                written = self.sock.send(chunk)
            except OSError as error:
                self.failed(error, chunk)
            else:
                if written < len(chunk):
                    self.hold(chunk, written)

    def flush(self) -> None:
        """Write what waits as far as the socket takes it; the reactor calls again for the rest."""
        outbox = self.outbox
        if outbox is None:
            return
        try:
            empty = outbox.write(self.sock)
        except OSError as error:
            self.failed(error)
            return
        if empty:
            self.outbox = None
            if self.ending:
                self._say_no_more()
        self._watch()
        self._check_limit()

    writable = flush

    def hold(self, chunk: bytes, written: int) -> None:
        """Keep the rest of *chunk*, of which the socket took only *written* bytes."""
        self.outbox = Outbox(chunk, written)
        self._watch()
        self._check_limit()

    def failed(self, error: OSError, chunk: bytes = b"") -> None:
        """Take what a write raised: hold *chunk* if the socket is only full, or else end."""
        if isinstance(error, BlockingIOError | InterruptedError):
            self.hold(chunk, 0)
            return
        log.debug("writing to a websocket failed", reason=repr(error))
        self._tell_lost(by_client=True, error=True)
        self.cut()

    def _check_limit(self) -> None:
        if self.outbox is not None and self.outbox.size > self._limit and not self.ending:
            owner, self.owner = self.owner, None
            self.overrun()
            if owner is not None:
                owner.overrun()

    def _watch(self) -> None:
        """Have the reactor wait for what is wanted now: to read, to write, both or neither."""
        fd = self.sock.fileno()
        events = (0 if self._paused else READ) | (WRITE if self.outbox is not None else 0) if fd >= 0 else NOTHING
        if events != self._events:
            self._reactor.wait_for(fd, events, self, before=self._events)
            self._events = events

    # Ending.

    def finish(self, code: int, reason: str) -> None:
        """Write what waits, then a Close frame; the client then closes."""
        if self.ending or self.sock.fileno() < 0:
            return
        self.ending = True
        self.owner = None
        self._paused = False
        self._wheel.set(self, _LINGER_S)
        frame = frames.close(code, reason)
        if self.outbox is None:
            self.outbox = Outbox(frame)
        else:
            self.outbox.put(frame)
        self.flush()

    def overrun(self) -> None:
        """Forget what waits for a client that does not read, and close."""
        if not self.ending and self.outbox is not None:
            self.outbox.keep_only_begun_frame()
            if not self.outbox.size:
                self.outbox = None
        self.finish(TOO_SLOW, "too slow: reconnect")

    def cut(self) -> None:
        """Close the socket now."""
        self.ending = True
        self.owner = None
        self.outbox = None
        self._wheel.cancel(self)
        fd = self.sock.fileno()
        if fd >= 0:
            self._reactor.wait_for(fd, NOTHING, self, before=self._events)
            self._events = NOTHING
            self.sock.close()

    def due(self) -> None:
        """The time to linger is over."""
        self.cut()

    def _say_no_more(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            log.debug("already closed", reason=repr(error))
            self.cut()

    def _tell_lost(self, *, by_client: bool, error: bool) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.lost(by_client=by_client, error=error)
