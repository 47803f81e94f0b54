"""A session for Python services: connects, stays connected, hands over each message once and in order.

The promises, for each durable message of each key of the session:

- the handler gets it once, in the order of offsets, over any number of reconnects; and, with a storage that outlives
  the process, over a restart.  Only the message whose handler was at work when the process was killed comes again.
- its cursor is kept after the handler has returned, and it is acknowledged after that, in batches.  A handler that
  raises ends the listener with its error; that message comes again.
- what was lost for good is told: *on_gap*, and ``recovered`` in *on_ready*.

An ephemeral message is handed over at most once.  Callbacks run one at a time on a thread of the listener's.  What
waits for it is bounded; past that the node is held up, and after ten seconds the connection is given up until half
the room is free.

Threads: the packets' (connection.py, intake.py) decides what is new; the handler's (handing.py) works it off; the
supervisor's connects, sends acks and ends all.  Cursors and the current connection are under one lock, so a packet of
a connection that was given up never comes in after one of its successor: it is not of the current one any more.
Refuses to try again once a node refused who we are: that would be refused again.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Self

from cloudpush.acks import AckBatch
from cloudpush.connection import HANDSHAKE_S, Connection
from cloudpush.cursors import Cursors, Place
from cloudpush.errors import Unreachable
from cloudpush.events import Gap, Message, Ready
from cloudpush.handing import Handlers, Hands
from cloudpush.intake import Intake, Item
from cloudpush.rest import Client
from cloudpush.retrying import Backoff
from cloudpush.session import Session
from cloudpush.storage import MemoryStorage, Storage
from cloudpush.supervisor import Supervisor
from cloudpush.waiting import Waiting

_LOOK_S = 0.2

log = logging.getLogger("cloudpush")


class Listener:
    """One session: :meth:`run` it, or :meth:`start` and :meth:`close` it.

    *url* is a node's, or says one for each connection; without it *rest* names the least loaded node each time.
    *key*, *mid*, *rooms*, *accepts*, *platform*, *token*: who the session is (a node makes up a key if there is none;
    *token* may be called for each connection).  *history*: how many messages of a room's past to get when there is no
    cursor for it.  *storage* keeps the cursors.  *most_waiting* bounds what waits for the handler.  *first_within_s*:
    how long to try for a first connection before that fails.
    """

    def __init__(
        self,
        url: str | Callable[[], str] | None = None,
        *,
        on_message: Callable[[Message], Any],
        rest: Client | None = None,
        key: str | None = None,
        mid: str | int | None = None,
        rooms: Iterable[str] = (),
        accepts: Collection[int] | None = None,
        platform: str = "python",
        token: str | Callable[[], str] | None = None,
        history: int = 0,
        storage: Storage | None = None,
        on_ready: Callable[[Ready], Any] = lambda _: None,
        on_gap: Callable[[Gap], Any] = lambda _: None,
        on_lost: Callable[[str], Any] = lambda _: None,
        most_waiting: int = 1000,
        first_within_s: float = 0.0,
        polling: bool = False,
    ) -> None:
        if (url is None) == (rest is None):
            raise ValueError("give the URL of a node, or a Client as rest to ask for one")
        self._url, self._rest = url, rest
        self._session = Session(key, mid, rooms, accepts, platform, token, history)
        self._storage = storage if storage is not None else MemoryStorage()
        self._backoff = Backoff(random.random)
        wake = threading.Event()
        self._batch = AckBatch(wake.set)
        self._intake = Intake(Waiting[Item](most_waiting))
        self._hands = Hands(Handlers(on_message, on_ready, on_gap, on_lost), self._intake, self._storage, self._batch)
        self._supervisor = Supervisor(
            self._node_url,
            self._session,
            ["polling"] if polling else ["websocket"],
            self._intake,
            self._hands,
            self._batch,
            self._storage,
            self._backoff,
            first_within_s=first_within_s,
            wake=wake,
        )
        self._started = False

    @property
    def failure(self) -> BaseException | None:
        """What ended it, if it was not :meth:`stop`."""
        return self._supervisor.failure

    def start(self) -> Self:
        """Load the cursors (StorageFailed if that fails) and begin, on threads of its own; once only."""
        if self._started:
            raise RuntimeError("a listener is started once")
        self._started = True
        state = self._storage.load()
        self._session.adopt(state.key)
        self._hands.key_to_keep = self._session.made_key
        self._intake.cursors = Cursors(state)
        self._intake.on_ready = self._supervisor.ready
        self._hands.on_failure = self._supervisor.fail
        self._hands.thread.start()
        self._supervisor.thread.start()
        return self

    def run(self, timeout_s: float | None = None) -> bool:
        """Start, and listen until :meth:`stop`; False when *timeout_s* ended it.

        Raises what ended it otherwise: Refused when a node refuses us, Ended when the server ends the session for
        good, Unreachable (or Problem) when the first connection does not come about, StorageFailed, or what a callback
        raised.  Later a lost connection is made anew, with growing waits, until :meth:`stop`.
        """
        self.start()
        try:
            in_time = self.wait(timeout_s)
        finally:
            self.close()
        self._raise_failure()
        return in_time

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, by :meth:`stop` or a failure; whether it has within *timeout_s*."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        # In steps: an endless wait would not notice Ctrl-C.
        while not self._supervisor.over.wait(
            _LOOK_S if until is None else min(_LOOK_S, max(0.0, until - time.monotonic()))
        ):
            if until is not None and time.monotonic() >= until:
                return False
        return True

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the session is known everywhere; Unreachable if it is not in time, or what ended it before."""
        until = time.monotonic() + timeout_s
        while not self._supervisor.was_ready.wait(min(_LOOK_S, max(0.0, until - time.monotonic()))):
            self._raise_failure()
            if self._supervisor.over.is_set() or time.monotonic() >= until:
                raise Unreachable(str(self._url or "the node"), "not ready in time")

    def stop(self) -> None:
        """Ask for the end, and do not wait for it; from any thread, a callback's too."""
        self._supervisor.stop()

    def close(self, timeout_s: float = 10.0) -> None:
        """End: let the callback at work return, acknowledge what was handled, leave.

        In a callback it is :meth:`stop`.  A callback that does not return within *timeout_s* is left to itself.  The
        failure, if there was one, is in :attr:`failure`.
        """
        self._supervisor.end_within_s = timeout_s
        self.stop()
        own = (self._supervisor.thread, self._hands.thread)
        if not self._started or threading.current_thread() in own:
            return
        if not self._supervisor.ended.wait(timeout_s + 4 * HANDSHAKE_S):
            log.warning("a listener did not end in time: a callback or the network holds it up")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def join(self, room: str, *, history: int | None = None, after: Place | None = None) -> tuple[str, ...]:
        """Join a room, and stay in it over reconnects; gives the rooms held now.

        With *history*: its last messages first, again if need be; with *after*: those after that place; else from our
        own cursor, or from now on.  Raises Refused or Unreachable.  In a callback it may not be answered in time while
        the queue is full: the answer comes behind the messages that find no room.
        """
        connection, key = self._connection(), f"room:{room}"
        with self._intake.lock:
            if history is not None or after is not None:
                self._intake.cursors.forget(key)
            asked = self._session.join_request(room, history, after or self._intake.cursors.resume().get(key))
        answer = connection.call("join", asked, HANDSHAKE_S, lambda said: self._intake.joined(connection, key, said))
        self._session.joined(room)
        return tuple(answer.get("rooms", ()))

    def leave(self, room: str) -> tuple[str, ...]:
        """Leave a room and forget how far we were; gives the rooms held now.  Raises Refused or Unreachable."""
        answer = self._connection().call("leave", room, HANDSHAKE_S)
        self._session.left(room)
        with self._intake.lock:
            self._intake.cursors.forget(f"room:{room}")
        return tuple(answer.get("rooms", ()))

    def accept(self, ops: Collection[int] | None) -> None:
        """Say which ops to get from now on, over reconnects too; None: all.  Raises Refused or Unreachable."""
        wanted = None if ops is None else sorted(ops)
        self._connection().call("accept", wanted, HANDSHAKE_S)
        self._session.accepts = wanted

    def counts(self) -> dict[str, int]:
        """Count messages by what was decided when they arrived: HAND, SKIP (had under another key), DROP (had)."""
        with self._intake.lock:
            return dict(self._intake.counts)

    def _node_url(self) -> str:
        if self._rest is not None:
            best = self._rest.best_node()
            self._backoff.learn(best.backoff)
            return best.url
        return self._url() if callable(self._url) else str(self._url)

    def _connection(self) -> Connection:
        with self._intake.lock:
            connection = self._intake.current
        if connection is None:
            raise Unreachable(str(self._url or "the node"), "not connected now")
        return connection

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure
