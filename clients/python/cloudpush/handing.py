"""The handler's thread: one item after the other; a durable message is done when its cursor is kept.

Order of the steps: handler, cursor, storage, and only then may it be acknowledged.  Whoever dies between two steps
gets the message again; nobody loses it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloudpush.acks import AckBatch
from cloudpush.cursors import Place
from cloudpush.events import Gap, Message, Ready
from cloudpush.intake import Arrived, Intake, Item, Lost, Started
from cloudpush.storage import Storage

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Handlers:
    """The application's callbacks."""

    on_message: Callable[[Message], Any]
    on_ready: Callable[[Ready], Any]
    on_gap: Callable[[Gap], Any]
    on_lost: Callable[[str], Any]


class Hands:
    """Works off what waits until that is closed, or a callback or the storage fails: *on_failure* is told then."""

    def __init__(
        self,
        handlers: Handlers,
        intake: Intake,
        storage: Storage,
        batch: AckBatch,
    ) -> None:
        self._handlers = handlers
        self._intake = intake
        self._lock = intake.lock
        self._waiting = intake.waiting
        self._storage = storage
        self._batch = batch
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        self._over = False
        self.key_to_keep: str | None = None
        self.thread = threading.Thread(target=self._run, name="cloudpush-handler", daemon=True)

    def end(self, timeout_s: float) -> bool:
        """Let the callback that is at work return, and take no other; False if it did not within *timeout_s*.

        Then its message does not count as handled, even if the callback returns later.
        """
        self._waiting.close()
        if self.thread.is_alive():
            self.thread.join(timeout_s)
        with self._lock:
            self._over = True
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                item = self._waiting.take(_LOOK_S)
                if item is not None:
                    self._do(item)
                elif self._waiting.closed:
                    return
        except BaseException as failure:  # noqa: BLE001 - told to whoever runs the listener
            self.on_failure(failure)

    def _do(self, item: Item) -> None:
        match item:
            case Arrived(message, hand):
                if hand:
                    self._handlers.on_message(message)
                if message.place is not None:
                    self._finish(message.key, message.place, message.push_id)
            case Started(ready, starts, gaps):
                if ready is not None:
                    self._handlers.on_ready(ready)
                for gap in gaps:
                    self._handlers.on_gap(gap)
                # Told first: an application that dies in between is told again.
                with self._lock:
                    for key, place in starts.items():
                        self._intake.cursors.finish_start(key, place)
                self._keep()
            case Lost(reason):
                self._handlers.on_lost(reason)

    def _finish(self, key: str, place: Place, push_id: str) -> None:
        with self._lock:
            if self._over:
                return
            self._intake.cursors.finish(key, place, push_id)
        self._keep()
        self._batch.note(time.monotonic())

    def _keep(self) -> None:
        with self._lock:
            state = None if self._over else self._intake.cursors.state(self.key_to_keep)
        if state is not None:
            self._storage.save(state)
            with self._lock:
                self._intake.cursors.kept(state)
