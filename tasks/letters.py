"""What a dead letter says, and what it takes to send it again.  Pure.

There are two kinds.  A worker that gives a push up writes ``{payload, reason, details, at_ms}``.  RabbitMQ itself moves
here what a worker rejects (it is no task) and what came back too often; that is the message as it was, and RabbitMQ's
reason is in its headers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from proto import queues
from proto.message import Push

MALFORMED = "malformed"
_SHOWN_CHARS = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.  It holds a *push*, or *keys* whose sessions were to be ended, or neither: it is malformed.

    *at_ms* is when it died, 0 if nobody noted that; *size* is in bytes.
    """

    reason: str
    details: str
    at_ms: int
    size: int
    push: Push | None = None
    keys: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``push``, ``disconnect`` or ``malformed``."""
        return "push" if self.push is not None else "disconnect" if self.keys else MALFORMED

    @property
    def push_id(self) -> str:
        """The push's id; "" for what is none."""
        return self.push.push_id if self.push is not None else ""

    def shown(self) -> dict[str, Any]:
        """Give what to tell of it, as JSON values; never the message's body."""
        told: dict[str, Any] = {"kind": self.kind, "reason": self.reason, "details": self.details[:_SHOWN_CHARS]}
        told |= {"died_at": instant(self.at_ms) if self.at_ms else None, "bytes": self.size}
        if self.push is not None:
            told |= {"push_id": self.push_id, "keys": list(self.push.keys), "op": self.push.message.op}
            told |= {"priority": self.push.priority.value, "durable": self.push.durable}
            told["expires_at"] = instant(self.push.expires_ms) if self.push.expires_ms else None
        elif self.keys:
            told["keys"] = list(self.keys)
        return told


def read(headers: Mapping[str, Any], body: str | bytes) -> Letter:
    """Read any message at all."""
    size = len(body.encode() if isinstance(body, str) else body)
    death = _death(headers)
    try:
        content = json.loads(body)
    except ValueError as error:
        return Letter(_brokers_reason(death), f"its body is no JSON: {error}", _died_ms(death), size)
    if isinstance(content, dict) and "reason" in content and "payload" in content:
        at_ms = content.get("at_ms")
        letter = Letter(
            str(content["reason"]), str(content.get("details", "")), at_ms if isinstance(at_ms, int) else 0, size
        )
        return _filled(letter, content["payload"])
    letter = Letter(_brokers_reason(death), f"rejected from {death.get('queue', 'a queue')}", _died_ms(death), size)
    match headers.get("task"), content:
        case queues.PUSH_TASK, [[payload, *_], dict(), *_]:
            return _filled(letter, payload)
        case queues.DISCONNECT_TASK, [[list() as keys, *_], dict(), *_]:
            return _filled(letter, {"keys": keys})
        case queues.DISCONNECT_TASK, [[], {"keys": list() as keys}, *_]:
            return _filled(letter, {"keys": keys})
    return replace(letter, details=f"it is no task of ours: {str(headers.get('task'))[:80]!r}")


def argument(push: Push, now_ms: int, ttl_ms: int | None) -> dict[str, Any] | None:
    """Give the task's argument with which *push* is tried anew; None when its time is over.

    Attempts count from 0 again; nodes that have it already are left out.  With *ttl_ms* it has so much time from now,
    and a durable one is appended to its inboxes again if it is no longer there.
    """
    if ttl_ms is not None:
        push = replace(push, expires_ms=now_ms + ttl_ms, places={})
    elif push.expired(now_ms):
        return None
    return replace(push, attempt=0).to_payload() | (
        {"done": {k: list(v) for k, v in push.done.items()}} if push.done else {}
    )


def instant(unix_ms: int) -> str:
    """Write a time as RFC 3339."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _filled(letter: Letter, payload: Any) -> Letter:
    match payload:
        case {"keys": [*keys]} if set(payload) == {"keys"} and keys and all(isinstance(key, str) for key in keys):
            return replace(letter, keys=tuple(keys))
    try:
        return replace(letter, push=Push.from_payload(payload))
    except ValueError as error:
        return letter if letter.details else replace(letter, details=str(error))


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    match headers.get("x-death"):
        case [Mapping() as last, *_]:
            return last
    return {}


def _brokers_reason(death: Mapping[str, Any]) -> str:
    # A worker rejects nothing but what is no task.
    reason = str(death.get("reason", "unknown"))
    return "no_task" if reason == "rejected" else reason


def _died_ms(death: Mapping[str, Any]) -> int:
    at = death.get("time")
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000) if isinstance(at, datetime) else 0
