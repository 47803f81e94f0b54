"""One Socket.IO connection to one node, on python-socketio's client.  Refuses to connect again: that is the listener's.

Two things the library does are not for us:

- it runs each message on a thread of its own, so that two may change places.  Here the reading thread hands packets to
  one thread, which takes them in order; the queue between them is short, so a listener that is behind holds up the
  socket, and in the end the node.
- it answers a packet that asks for an answer as soon as the event's handler has returned, which says to the node that
  the message is done.  Here packets lose the id that asks for it: messages are acknowledged by the event ``ack``.

Threads: ``open``, ``call`` and ``close`` may be called from any thread but the one that runs *on_event*; ``emit`` and
its answer's callback from that one, too.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import engineio
import socketio
from socketio.packet import EVENT, Packet

from cloudpush.errors import CloudpushError, Ended, Refused, Unreachable

HANDSHAKE_S = 5.0
_CLOSE_S = 5.0
_LOOK_S = 0.2
_STEP_S = 0.01
_IN_HAND = 16
_IN_HAND_S = 15.0  # longer than one of them may wait for room
EVENTS = ("ready", "push", "gap")


class Behind(Exception):
    """Raised by *on_event*: what came finds no room, and has waited long enough."""


class _Unanswered(Packet):  # type: ignore[misc]
    """Packets whose events ask for no answer."""

    def decode(self, encoded_packet: Any) -> Any:
        attachments = super().decode(encoded_packet)
        if self.packet_type == EVENT:
            self.id = None
        return attachments


class _InOrder(engineio.Client):  # type: ignore[misc]
    """Engine.IO's client whose messages wait in *arrived* for one thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.arrived: queue.Queue[Any] = queue.Queue(_IN_HAND)
        self.closed = threading.Event()

    def start_background_task(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        if target != self.handlers.get("message"):
            return super().start_background_task(target, *args, **kwargs)
        while not self.closed.is_set():
            try:
                return self.arrived.put(args[0], timeout=_LOOK_S)
            except queue.Full:
                continue
        return None


class _Client(socketio.Client):  # type: ignore[misc]
    def _engineio_client_class(self) -> type[_InOrder]:
        return _InOrder


class Connection:
    """Calls *on_event* with the connection, the event's name and its payload, in order, on one thread.

    When that raises, or the node sends what is no packet, the connection is lost; :attr:`lost_by` says by what.
    """

    def __init__(
        self,
        url: str,
        auth: Mapping[str, Any],
        transports: list[str],
        on_event: Callable[["Connection", str, Any], None],
    ) -> None:
        self.url = url
        self.failure: CloudpushError | None = None  # one that no new connection would change
        self._lost_by: str | None = None
        self._answered = threading.Event()
        self._auth = auth
        self._transports = transports
        self._sio = _Client(
            reconnection=False, handle_sigint=False, request_timeout=HANDSHAKE_S, serializer=_Unanswered
        )
        for event in EVENTS:
            self._sio.on(event, lambda said=None, event=event: on_event(self, event, said))
        self._sio.on("connect", self._answered.set)
        self._sio.on("connect_error", self._connect_error)
        self._sio.on("disconnect", self._disconnected)
        self._transport_ended = self._sio.eio.handlers["disconnect"]
        self._sio.eio.on("disconnect", self._end_in_order)
        self._pump = threading.Thread(target=self._pump_packets, name="cloudpush-packets", daemon=True)

    def open(self) -> None:
        """Connect; raises Refused when the node does not take us, Unreachable otherwise."""
        self._pump.start()
        try:
            self._sio.connect(self.url, auth=self._auth, transports=self._transports, wait=False)
        except (socketio.exceptions.ConnectionError, ValueError) as error:
            self._sio.eio.closed.set()
            reason = f"not a URL ({error})" if isinstance(error, ValueError) else str(error) or "no connection"
            raise Unreachable(self.url, reason) from error
        until = time.monotonic() + HANDSHAKE_S
        while not self._answered.wait(_LOOK_S) and self.alive and time.monotonic() < until:
            pass
        if not self._answered.is_set() or self.failure is not None:
            self.close()
            raise self.failure or Unreachable(self.url, "it did not answer in time")

    @property
    def lost_by(self) -> str:
        """Why it ended, as far as is known here."""
        return self._lost_by or "the connection ended"

    @property
    def alive(self) -> bool:
        """Whether it stands, as far as is known here.

        Not by the library's event: that is not told of an end before its connect() has returned.
        """
        return self._sio.eio.state == "connected" and not self._sio.eio.closed.is_set()

    def emit(self, event: str, data: Any, answered: Callable[[Any], None]) -> bool:
        """Send an event; its answer goes to *answered*, on the thread of the events.  False if not connected."""
        try:
            self._sio.emit(event, data, callback=lambda *answer: answered(answer[0] if answer else None))
        except socketio.exceptions.SocketIOError:
            return False
        return True

    def call(
        self, event: str, data: Any, timeout_s: float, first: Callable[[Any], None] = lambda _: None
    ) -> Mapping[str, Any]:
        """Send an event and give its answer, after *first* has seen it on the thread of the events.

        Raises Unreachable when no answer came in time, Refused when it says no.
        """
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def answered(answer: Any) -> None:
            first(answer)
            answers.put(answer)

        if not self.emit(event, data, answered):
            raise Unreachable(self.url, "not connected now")
        try:
            answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise Unreachable(self.url, f"no answer to {event} in time") from None
        if (refused := refusal_of(answer)) is not None:
            raise refused
        return answer if isinstance(answer, Mapping) else {}

    def close(self) -> None:
        """Leave, within a deadline."""
        # The library waits for its threads, without a deadline, and three seconds for a Close that its other thread
        # reads; what it wants to say is said when its writing thread has ended.
        leaving = threading.Thread(target=self._sio.disconnect, name="cloudpush-leaving", daemon=True)
        leaving.start()
        until = time.monotonic() + _CLOSE_S
        while leaving.is_alive() and self._sio.eio.write_loop_task is not None and time.monotonic() < until:
            leaving.join(_STEP_S)
        self._sio.eio.closed.set()

    def _pump_packets(self) -> None:
        eio = self._sio.eio
        while not eio.closed.is_set():
            try:
                packet = eio.arrived.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if isinstance(packet, threading.Event):
                packet.set()
                continue
            try:
                eio.handlers["message"](packet)
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection and is told
                self._lost_by = str(error) if isinstance(error, Behind) else f"{type(error).__name__}: {error}"
                eio.closed.set()

    def _end_in_order(self, reason: str) -> None:
        """Let the library know of the transport's end after the packets before it: one may say that it is for good."""
        if threading.current_thread() is not self._pump:
            eio, reached = self._sio.eio, threading.Event()
            eio.start_background_task(eio.handlers["message"], reached)
            until = time.monotonic() + _IN_HAND_S
            while not (reached.wait(_LOOK_S) or eio.closed.is_set() or time.monotonic() > until):
                pass
        self._transport_ended(reason)

    def _connect_error(self, data: Any = None) -> None:
        # A refusal comes over a connection that stands; a failed transport (a draining node's 503) is tried again.
        if self._sio.eio.state == "connected":
            self.failure = _refused(data if isinstance(data, Mapping) else {"message": str(data)})
            self._answered.set()

    def _disconnected(self, reason: str) -> None:
        if reason == self._sio.reason.SERVER_DISCONNECT and self._sio.eio.state == "connected":
            self.failure = Ended()
        self._lost_by = self._lost_by or str(reason)


def refusal_of(answer: Any) -> Refused | None:
    """Read the answer to an event: a Refused if it says no."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return _refused(error) if isinstance(error, Mapping) else None


def _refused(said: Mapping[str, Any]) -> Refused:
    details = said.get("data")
    told = {**said, **(details if isinstance(details, Mapping) else {})}
    field = told.get("field")
    message, code = str(told.get("message", "no reason given")), str(told.get("code", "refused"))
    return Refused(message, code, None if field is None else str(field))
