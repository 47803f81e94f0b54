"""The REST interface for Python services: a deadline on every call, a bound on every retry.

A call is tried again, with growing and jittered waits, when nobody answered, the answer did not come in time, or the
server said "not now" (429, 503; not before its Retry-After), until *patience_s* is over.  Each push carries a
``request_id``, so one that is sent again is not delivered again.  Refuses to send a push without one again when its
answer was lost: the server may have taken it.

Threads may share a Client: each has HTTP connections of its own.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal, Self
from urllib.parse import quote

from cloudpush.bodies import MADE_UP, Made, body_of
from cloudpush.calls import Http, read
from cloudpush.errors import CloudpushError, Problem
from cloudpush.many import push_all
from cloudpush.results import (
    Accepted,
    BestNode,
    Cancelled,
    Inbox,
    Milestone,
    Node,
    Online,
    Receipt,
    RoomCount,
    inbox_of,
    node_of,
    receipt_of,
)

_LONGEST_WAIT_S = 30.0  # what the server waits at most for a milestone
_EARLY_S = 0.5


class Client:
    """Calls one cloudpush.

    *timeout_s*: longest wait for one answer; *patience_s*: longest for a call with all its retries.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 10.0,
        **clock_and_dice: Callable[..., Any],
    ) -> None:
        self.url = url.rstrip("/")
        self._http = Http(url, api_key, timeout_s=timeout_s, patience_s=patience_s, **clock_and_dice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def push(
        self,
        msg: Any,
        *,
        keys: Iterable[str] = (),
        mids: Iterable[str | int] = (),
        rooms: Iterable[str] = (),
        all: bool = False,
        op: int | None = None,
        durable: bool = False,
        ttl_s: int | None = None,
        delay_s: float | None = None,
        deliver_at: datetime | str | None = None,
        priority: Literal["high", "normal", "bulk"] | str | None = None,
        trace: bool = False,
        server: str | None = None,
        speed: int | None = None,
        request_id: str | Made | None = MADE_UP,
    ) -> Accepted:
        """Push one message, any JSON value; what is not given is left to the server.

        *request_id*: the same id with the same push is delivered once, for 24 h, whoever sends it; one is made up for
        each call unless given, and None is to send without: then a lost answer is Unreachable at once, and whether the
        push was taken is not known.  Raises Problem (422 names the fields, 409 a request_id that another push has) or
        Unreachable.
        """
        asked = {
            "keys": list(keys),
            "mids": list(mids),
            "rooms": list(rooms),
            "all": all,
            "op": op,
            "msg": msg,
            "durable": durable,
            "ttl_s": ttl_s,
            "delay_s": delay_s,
            "deliver_at": deliver_at,
            "priority": priority,
            "trace": trace,
            "server": server,
            "speed": speed,
            "request_id": request_id,
        }
        body = body_of(asked)
        made = body.get("request_id")
        said, _ = self._http.call("POST", "/v1/pushes", json=body, repeatable=made is not None)
        return read(said, lambda said: Accepted(said["push_id"], said["status"], said["href"], made))

    def push_many(self, pushes: Iterable[Mapping[str, Any]]) -> list[Accepted | CloudpushError]:
        """Push many messages in few calls; gives for each, in their order, what :meth:`push` would give or raise.

        Each is a mapping with the names of what :meth:`push` takes, ``msg`` among them.  What the server cannot take
        at once is sent again within *patience_s* a call of 1,000.  Once a call cannot be made at all the rest is not
        sent, and has its error.  Raises TypeError or ValueError, with nothing sent, for what is no push at all.
        """
        return push_all(self._http, [body_of(asked) for asked in pushes])

    def receipt(self, push_id: str, *, wait: Milestone | None = None, timeout_s: float = 30.0) -> Receipt:
        """Say what became of a push.

        With *wait*: as soon as every key has reached that, or has ended otherwise, else after *timeout_s* with what is
        then.  Problem 404: no such push, or one that leaves no receipt (ephemeral and not traced).
        """
        path = f"/v1/pushes/{quote(push_id, safe='')}"
        if wait is None:
            return read(self._http.call("GET", path)[0], receipt_of)
        until = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            wait_s = max(1.0, min(_LONGEST_WAIT_S, until - began))
            asked = {"wait": wait, "timeout_s": f"{wait_s:g}"}
            receipt = read(self._http.call("GET", path, params=asked, longer_s=wait_s)[0], receipt_of)
            now = time.monotonic()
            if receipt.reached(wait) or now >= until - _EARLY_S or now - began < wait_s - _EARLY_S:
                return receipt

    def cancel(self, push_id: str) -> Cancelled:
        """Cancel what was not emitted yet.  Problem 409: it is too late for every key; 404: no such receipt."""
        path = f"/v1/pushes/{quote(push_id, safe='')}"
        try:
            said, _ = self._http.call("DELETE", path)
        except Problem as problem:
            if problem.status == HTTPStatus.CONFLICT and problem.after_loss:
                return self._cancelled_before(push_id, problem)
            raise
        return read(said, lambda said: Cancelled(said["push_id"], tuple(said["cancelled"]), said["too_late"]))

    def messages(self, key: str, after: int = 0, limit: int = 100) -> Inbox:
        """Read a key's durable messages after the offset *after*, oldest first."""
        asked = {"after": after, "limit": limit}
        return read(self._http.call("GET", f"/v1/keys/{quote(key, safe='')}/messages", params=asked)[0], inbox_of)

    def nodes(self) -> list[Node]:
        """List the live nodes."""
        return read(self._http.call("GET", "/v1/nodes")[0], lambda said: [node_of(one) for one in said["nodes"]])

    def best_node(self) -> BestNode:
        """Name the node that the next session should connect to: the least loaded one."""
        return read(
            self._http.call("GET", "/v1/nodes/best")[0],
            lambda said: BestNode(said["node"], said["url"], said["sessions"], said["backoff"]),
        )

    def online(self) -> Online:
        """Count over all nodes."""
        return read(self._http.call("GET", "/v1/online")[0], lambda said: Online(said["sessions"], said["nodes"]))

    def online_keys(self, keys: Sequence[str]) -> dict[str, int]:
        """Count the sessions of each key."""
        said, _ = self._http.call("GET", "/v1/online/keys", params={"key": list(keys)})
        return read(said, lambda said: dict(said["keys"]))

    def online_room(self, room: str) -> int:
        """Count the sessions in one room."""
        said, _ = self._http.call("GET", f"/v1/online/rooms/{quote(room, safe='')}")
        return read(said, lambda said: int(said["sessions"]))

    def online_rooms(self, limit: int = 10) -> list[RoomCount]:
        """List the largest rooms, largest first."""
        said, _ = self._http.call("GET", "/v1/online/rooms", params={"limit": limit})
        return read(said, lambda said: [RoomCount(one["room"], one["sessions"]) for one in said["rooms"]])

    def _cancelled_before(self, push_id: str, problem: Problem) -> Cancelled:
        """Tell what an attempt cancelled whose answer was lost, now that there is nothing left to cancel."""
        keys = self.receipt(push_id).keys
        cancelled = tuple(key for key, one in keys.items() if one.state == "cancelled")
        if not cancelled:
            raise problem
        return Cancelled(push_id, cancelled, {key: one.state for key, one in keys.items() if key not in cancelled})
