"""A session over Socket.IO: connects, stays connected, hands over what comes.

Callbacks run one at a time, in the order of arrival, on a thread of the listener's; a slow one holds up the next.
Refuses to try again once a node refused who we are: that would be refused again.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import socketio
from socketio.exceptions import ConnectionError as NotConnected

from cloudpush.errors import CloudpushError, Ended, Problem, Refused, Unreachable

_HANDSHAKE_S = 5.0
_LONGEST_WAIT_S = 10
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is known everywhere: pushes reach it from now on."""

    key: str
    node: str
    session: str


@dataclass(frozen=True, slots=True)
class Message:
    """One push as it arrived; *raw* is the whole payload, with offset and epoch when durable."""

    op: int
    msg: Any
    key: str
    push_id: str
    raw: Mapping[str, Any]


class Listener:
    """One session.  *node_url* is asked before every connection, so that a new node can be chosen each time."""

    def __init__(
        self,
        node_url: Callable[[], str],
        auth: Mapping[str, Any],
        *,
        on_message: Callable[[Message], None],
        on_ready: Callable[[Ready], None] = lambda _: None,
        on_lost: Callable[[str], None] = lambda _: None,
        polling: bool = False,
    ) -> None:
        self._node_url = node_url
        self._auth = dict(auth)
        self._on_message = on_message
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._transports = ["polling"] if polling else ["websocket"]
        self._over = threading.Event()
        self._failure: CloudpushError | None = None
        self._sio = socketio.Client(
            handle_sigint=False, reconnection_delay_max=_LONGEST_WAIT_S, request_timeout=_HANDSHAKE_S
        )
        self._sio.on("ready", self._ready)
        self._sio.on("push", self._push)
        self._sio.on("connect_error", self._connect_error)
        self._sio.on("disconnect", self._lost)

    def run(self, timeout_s: float | None = None) -> bool:
        """Connect and listen until :meth:`stop`; False when *timeout_s* ended it.

        Raises Refused when a node refuses us, Ended when the server ends the session for good, Unreachable (or Problem)
        when the first connection does not come about.
        Later a lost connection is made anew, with growing waits, until :meth:`stop`.
        """
        url = self._node_url()
        try:
            self._connect(url)
            return self._wait(timeout_s)
        finally:
            # First: the disconnection that we cause is not a lost connection.
            self._over.set()
            self._sio.shutdown()

    def stop(self) -> None:
        """End :meth:`run`; from any thread, a callback's too."""
        self._over.set()

    def emit(self, event: str, data: Any) -> Any:
        """Send an event (join, leave, accept, ack) and give the node's answer; Unreachable when none comes in time."""
        try:
            return self._sio.call(event, data, timeout=_HANDSHAKE_S)
        except (socketio.exceptions.SocketIOError, TimeoutError) as error:
            raise Unreachable(str(self._sio.connection_url), str(error) or "no answer in time") from error

    def _connect(self, url: str) -> None:
        known = [url]

        def next_url() -> str:
            if known:
                return known.pop()
            try:
                return self._node_url()
            except (Unreachable, Problem) as error:
                # The library goes on trying after this one error, and stops for good after any other.
                raise NotConnected(str(error)) from error

        try:
            self._sio.connect(next_url, auth=self._auth, transports=self._transports, wait_timeout=_HANDSHAKE_S)
        except NotConnected as error:
            if self._failure is not None:
                raise self._failure from None
            raise Unreachable(url, str(error) or "no connection") from error
        except ValueError as error:
            raise Unreachable(url, f"not a URL ({error})") from error

    def _wait(self, timeout_s: float | None) -> bool:
        waited_s = 0.0
        # In steps: an endless wait would not notice Ctrl-C.
        while not self._over.wait(_LOOK_S):
            waited_s += _LOOK_S
            if timeout_s is not None and waited_s >= timeout_s:
                return False
        if self._failure is not None:
            raise self._failure
        return True

    def _ready(self, data: Mapping[str, Any]) -> None:
        if not self._over.is_set():
            self._on_ready(Ready(str(data["key"]), str(data["node"]), str(data["session"])))

    def _push(self, data: Mapping[str, Any]) -> None:
        if not self._over.is_set():
            self._on_message(Message(data["op"], data["msg"], data["key"], data["push_id"], data))

    def _lost(self, reason: str) -> None:
        if self._over.is_set():
            return
        if reason == self._sio.reason.SERVER_DISCONNECT:
            self._fail(Ended())
        else:
            self._on_lost(reason)

    def _connect_error(self, data: Any = None) -> None:
        # A refusal comes over a connection that stands; a failed transport (a draining node's 503) is tried again.
        if self._sio.eio.state != "connected":
            return
        said = data if isinstance(data, Mapping) else {"message": str(data)}
        details = said.get("data")
        told = {**said, **(details if isinstance(details, Mapping) else {})}
        field = told.get("field")
        message, code = str(told.get("message", "no reason given")), str(told.get("code", "refused"))
        self._fail(Refused(message, code, None if field is None else str(field)))

    def _fail(self, failure: CloudpushError) -> None:
        self._failure = failure
        self._over.set()
