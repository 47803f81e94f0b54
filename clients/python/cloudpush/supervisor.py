"""The supervisor's thread: connects, sends acknowledgements, connects again, and ends all in order.

The end: nothing comes in any more; the handler's callback returns; what is done is acknowledged, with an answer; the
connection is closed; the storage is closed.  Each step has a deadline.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from cloudpush.acks import AckBatch
from cloudpush.connection import HANDSHAKE_S, Connection, refusal_of
from cloudpush.errors import CloudpushError, Problem, Refused, Unreachable
from cloudpush.events import Ready
from cloudpush.handing import Hands
from cloudpush.intake import Intake, Lost
from cloudpush.retrying import Backoff
from cloudpush.session import Session
from cloudpush.storage import Storage

_LOOK_S = 0.2
_UNANSWERED = 16
_KEY_IS_WRONG = (401, 403)
_ELSEWHERE = ("full",)  # refusals that another node may not repeat

log = logging.getLogger("cloudpush")


class Supervisor:
    """Runs from :attr:`thread`'s start until :attr:`over`, or until a failure that no new connection would change."""

    def __init__(
        self,
        node_url: Callable[[], str],
        session: Session,
        transports: list[str],
        intake: Intake,
        hands: Hands,
        batch: AckBatch,
        storage: Storage,
        backoff: Backoff,
        *,
        first_within_s: float,
        wake: threading.Event,
    ) -> None:
        self._node_url = node_url
        self._session = session
        self._transports = transports
        self._intake = intake
        self._hands = hands
        self._batch = batch
        self._storage = storage
        self._backoff = backoff
        self._first_within_s = first_within_s
        self._wake = wake
        self._unanswered = 0
        self.over, self.ended, self.was_ready = threading.Event(), threading.Event(), threading.Event()
        self.end_within_s = 10.0
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="cloudpush-listener", daemon=True)

    def fail(self, failure: BaseException) -> None:
        """End, because of *failure*; the first one counts."""
        self.failure = self.failure or failure
        self.stop()

    def stop(self) -> None:
        """End: no other item is handed over."""
        self.over.set()
        self._intake.waiting.close()
        self._wake.set()

    def ready(self, connection: Connection, ready: Ready) -> None:
        """Take note that the session is known everywhere; on the packets' thread."""
        self._session.adopt(ready.key)
        self._hands.key_to_keep = self._session.made_key
        self._backoff.reset()
        with self._intake.lock:
            resume = self._intake.cursors.resume()
        for room, asked in self._session.to_join(resume).items():
            connection.emit("join", asked, self._joined(connection, room))
        self.was_ready.set()
        self._batch.note(time.monotonic())  # what had no answer on the connection before

    def _joined(self, connection: Connection, room: str) -> Callable[[Any], None]:
        def joined(answer: Any) -> None:
            if (refused := refusal_of(answer)) is not None:
                self.fail(refused)
            else:
                self._intake.joined(connection, f"room:{room}", answer)

        return joined

    def _run(self) -> None:
        connection = None
        try:
            while not self.over.is_set() and (connection := self._connect()) is not None:
                self._serve(connection)
        except Exception as failure:  # noqa: BLE001 - told to whoever runs the listener
            self.fail(failure)
        finally:
            self._end(connection)

    def _connect(self) -> Connection | None:
        """Connect, trying again as long as that is promised; None when it is over."""
        until = time.monotonic() + self._first_within_s
        while not self.over.is_set():
            try:
                return self._open(self._node_url())
            except (Unreachable, Problem, Refused) as failure:
                if isinstance(failure, Refused) and failure.code not in _ELSEWHERE:
                    raise
                if isinstance(failure, Problem) and failure.status in _KEY_IS_WRONG:
                    raise
                wait_s = self._backoff.next_s()
                if not self.was_ready.is_set() and time.monotonic() + wait_s > until:
                    raise
                log.info("no connection: %s", failure)
                self.over.wait(wait_s)
        return None

    def _open(self, url: str) -> Connection:
        with self._intake.lock:
            resume = self._intake.cursors.resume()
        connection = Connection(url, self._session.auth(resume), self._transports, self._intake.take)
        with self._intake.lock:
            self._intake.current = connection
            self._unanswered = 0
        connection.open()
        return connection

    def _serve(self, connection: Connection) -> None:
        """Acknowledge while the connection stands; then let go of it, and wait for room and for the backoff."""
        while connection.alive and not self.over.is_set():
            wait_s = self._batch.wait_s(time.monotonic())
            if wait_s == 0 and self._acknowledge(connection):
                continue
            self._wake.wait(_LOOK_S if not wait_s else min(wait_s, _LOOK_S))
            self._wake.clear()
        if self.over.is_set():
            return
        with self._intake.lock:
            self._intake.current = None
            self._intake.cursors.lose_connection()
        reason = connection.lost_by
        connection.close()
        if connection.failure is not None:
            raise connection.failure
        self._intake.waiting.put(Lost(reason))
        while not (self._intake.waiting.until_half(_LOOK_S) or self.over.is_set()):
            pass
        self.over.wait(self._backoff.next_s())

    def _acknowledge(self, connection: Connection) -> bool:
        """Send what is due, unless many are without an answer: then later, since offsets are cumulative."""
        with self._intake.lock:
            if self._unanswered >= _UNANSWERED:
                return False
            self._batch.sent()
            offsets = self._intake.cursors.acks()
            self._unanswered += bool(offsets)
        if offsets:
            connection.emit("ack", offsets, lambda answer: self._acked(connection, answer))
        return True

    def _acked(self, connection: Connection, answer: Any) -> None:
        """Note an answer to an ack.  One that is refused is sent again on the next connection."""
        if (refused := refusal_of(answer)) is not None:
            log.warning("the node took no acknowledgement: %s", refused)
        with self._intake.lock:
            if connection is self._intake.current:
                self._unanswered -= 1
                if refused is None:
                    self._intake.cursors.acked(answer["acked"])
        self._wake.set()

    def _end(self, connection: Connection | None) -> None:
        self.stop()
        try:
            if not self._hands.end(self.end_within_s):
                log.warning("a callback is still at work: its message will come again")
            if connection is not None:
                self._leave(connection)
            self._storage.close()
        except CloudpushError as failure:
            self.fail(failure)
        finally:
            self.ended.set()

    def _leave(self, connection: Connection) -> None:
        until = time.monotonic() + HANDSHAKE_S
        while self._unanswered and connection.alive and time.monotonic() < until:
            self._wake.wait(_LOOK_S)
            self._wake.clear()
        with self._intake.lock:
            offsets = self._intake.cursors.acks() if connection.alive else {}
        try:
            if offsets:
                connection.call("ack", offsets, HANDSHAKE_S)
        except (Unreachable, Refused) as failure:
            log.warning("the last acknowledgements had no answer: %s", failure)
        finally:
            with self._intake.lock:
                self._intake.current = None
            connection.close()
