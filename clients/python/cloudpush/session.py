"""Who a listener's session is, over all its connections: what it says when it connects."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from cloudpush.cursors import Place


class Session:
    """What to ask a node for.  Thread-safe."""

    def __init__(
        self,
        key: str | None,
        mid: str | int | None,
        rooms: Iterable[str],
        accepts: Collection[int] | None,
        platform: str,
        token: str | Callable[[], str] | None,
        history: int,
    ) -> None:
        self._key, self._mid, self._platform, self._token = key, mid, platform, token
        self._rooms = dict.fromkeys(rooms)
        self._history = history
        self._lock = threading.Lock()
        self.made_key: str | None = None
        self.accepts = None if accepts is None else sorted(accepts)

    def adopt(self, key: str | None) -> None:
        """Keep the key that a node made up, so that the session has the same one when it comes back."""
        # A token names the key; without one, anybody may be anybody.
        if self._key is None and self._token is None:
            self.made_key = key

    def auth(self, resume: Mapping[str, Place]) -> dict[str, Any]:
        """Form the auth of a connect; rooms whose past is wanted are joined after it: see :meth:`to_join`."""
        past = self._wanting_history(resume)
        with self._lock:
            rooms = [room for room in self._rooms if room not in past]
        asked: dict[str, Any] = {
            "key": self._key if self._key is not None else self.made_key,
            "mid": self._mid,
            "rooms": rooms or None,
            "accepts": self.accepts,
            "platform": self._platform,
            "token": self._token() if callable(self._token) else self._token,
            "resume": {key: place._asdict() for key, place in resume.items()} or None,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def to_join(self, resume: Mapping[str, Place]) -> dict[str, dict[str, Any]]:
        """Give the requests for rooms that the auth left out, by room."""
        return {room: self.join_request(room, self._history, None) for room in self._wanting_history(resume)}

    @staticmethod
    def join_request(room: str, history: int | None, after: Place | None) -> dict[str, Any]:
        """Form the payload of ``join``."""
        asked: dict[str, Any] = {"room": room}
        if history is not None:
            asked["history"] = history
        elif after is not None:
            asked["after"] = after._asdict()
        return asked

    def joined(self, room: str) -> None:
        """Ask for this room at each connect from now on."""
        with self._lock:
            self._rooms[room] = None

    def left(self, room: str) -> None:
        """Do not ask for it any more."""
        with self._lock:
            self._rooms.pop(room, None)

    def _wanting_history(self, resume: Mapping[str, Place]) -> list[str]:
        if not self._history:
            return []
        with self._lock:
            return [room for room in self._rooms if f"room:{room}" not in resume]
