"""What the REST interface answers, as frozen values.

Refuses to drop what a newer server says: where answers grow, *raw* is the whole answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Milestone = Literal["dispatched", "emitted", "acked"]

_ORDER = ("dispatched", "emitted", "acked")
_FINAL = frozenset({"filtered", "expired", "cancelled", "failed", "offline"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server's promise to deliver a push, and where its fate can be asked; *request_id*: what it was sent under."""

    push_id: str
    status: str
    href: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeyReceipt:
    """What became of a push for one key; a step that was not taken has no time."""

    state: str
    dispatched_at: datetime | None
    emitted_at: datetime | None
    acked_at: datetime | None
    ended_at: datetime | None
    sessions: int
    acks: int
    reason: str
    offset: int | None
    epoch: str | None

    def reached(self, milestone: Milestone) -> bool:
        """Whether it is there or beyond."""
        return self.state in _ORDER[_ORDER.index(milestone) :]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a push: *state* overall, *keys* one by one."""

    push_id: str
    state: str
    op: int
    priority: str
    durable: bool
    trace: bool
    accepted_at: datetime
    deliver_at: datetime | None
    expires_at: datetime | None
    keys: Mapping[str, KeyReceipt]
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    def reached(self, milestone: Milestone) -> bool:
        """Whether every key is there, or has ended otherwise."""
        return all(key.reached(milestone) or self._final(key) for key in self.keys.values())

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come: each key is acked (emitted, if ephemeral) or has ended otherwise."""
        return self.reached("acked" if self.durable else "emitted")

    @property
    def delivered(self) -> bool:
        """Whether each key is acked (emitted, if ephemeral)."""
        return all(key.reached("acked" if self.durable else "emitted") for key in self.keys.values())

    def _final(self, key: KeyReceipt) -> bool:
        # A durable push that found nobody may yet be delivered, until it expires.
        return key.state in _FINAL and not (self.durable and key.state == "offline")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """For which keys a push was cancelled, and for which it was too late, with the state that each is in."""

    push_id: str
    cancelled: tuple[str, ...]
    too_late: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """One durable message of a key's inbox."""

    offset: int
    epoch: str
    push_id: str
    op: int
    msg: Any
    accepted_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Inbox:
    """A page of a key's inbox, oldest first.

    *last* is the newest offset given; what was up to *trimmed* is gone before its time; *more*: go on after the last
    message of this page.
    """

    key: str
    epoch: str
    last: int
    trimmed: int
    messages: tuple[Stored, ...]
    more: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Online:
    """Totals over all nodes."""

    sessions: int
    nodes: int


@dataclass(frozen=True, slots=True)
class RoomCount:
    """Sessions in one room."""

    room: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Node:
    """One live node; *probe_age_ms* is how long ago a push of its own came back to it, None for never."""

    node: str
    url: str
    grpc: str
    sessions: int
    draining: bool
    probe_age_ms: int | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BestNode:
    """Where the next session should connect, and how it should wait before it comes back."""

    node: str
    url: str
    sessions: int
    backoff: Mapping[str, float]


def receipt_of(said: Mapping[str, Any]) -> Receipt:
    """Read ``GET /v1/pushes/{id}``; KeyError, TypeError or ValueError if it is not that."""
    return Receipt(
        push_id=said["push_id"],
        state=said["state"],
        op=said["op"],
        priority=said["priority"],
        durable=said["durable"],
        trace=said["trace"],
        accepted_at=datetime.fromisoformat(said["accepted_at"]),
        deliver_at=_time(said.get("deliver_at")),
        expires_at=_time(said.get("expires_at")),
        keys={key: _key_receipt(one) for key, one in said["keys"].items()},
        raw=said,
    )


def inbox_of(said: Mapping[str, Any]) -> Inbox:
    """Read ``GET /v1/keys/{key}/messages``; KeyError, TypeError or ValueError if it is not that."""
    messages = tuple(
        Stored(
            offset=one["offset"],
            epoch=one["epoch"],
            push_id=one["push_id"],
            op=one["op"],
            msg=one["msg"],
            accepted_at=datetime.fromisoformat(one["accepted_at"]),
            expires_at=datetime.fromisoformat(one["expires_at"]),
        )
        for one in said["messages"]
    )
    return Inbox(said["key"], said["epoch"], said["last"], said["trimmed"], messages, said["more"], said)


def node_of(said: Mapping[str, Any]) -> Node:
    """Read one of ``GET /v1/nodes``; KeyError if it is not that."""
    return Node(
        node=said["node"],
        url=said["url"],
        grpc=said["grpc"],
        sessions=said["sessions"],
        draining=said["draining"],
        probe_age_ms=said.get("probe_age_ms"),
        raw=said,
    )


def _key_receipt(said: Mapping[str, Any]) -> KeyReceipt:
    return KeyReceipt(
        state=said["state"],
        dispatched_at=_time(said.get("dispatched_at")),
        emitted_at=_time(said.get("emitted_at")),
        acked_at=_time(said.get("acked_at")),
        ended_at=_time(said.get("ended_at")),
        sessions=said.get("sessions", 0),
        acks=said.get("acks", 0),
        reason=said.get("reason") or "",
        offset=said.get("offset"),
        epoch=said.get("epoch"),
    )


def _time(said: str | None) -> datetime | None:
    return None if said is None else datetime.fromisoformat(said)
