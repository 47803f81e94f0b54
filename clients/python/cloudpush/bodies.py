"""What a push is asked for with → the body of the REST call, with nothing in it that the server would take anyway."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final


class Made:
    """Says that a request_id is to be made up."""


MADE_UP: Final = Made()
_LISTS = ("keys", "mids", "rooms")
_OPTIONS = (
    "op",
    "msg",
    "durable",
    "ttl_s",
    "delay_s",
    "deliver_at",
    "priority",
    "trace",
    "server",
    "speed",
    "request_id",
)
_NAMES = frozenset((*_LISTS, "all", *_OPTIONS))


def body_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body of a push; its request_id is made up unless it is given, and left out where that is None.

    Raises TypeError for a name that no push has, and where there is no msg.
    """
    if unknown := sorted(set(asked) - _NAMES):
        raise TypeError(f"a push has no {', '.join(unknown)}")
    if "msg" not in asked:
        raise TypeError("a push needs a msg")
    body = {**asked, "request_id": asked.get("request_id", MADE_UP)}
    for name in _LISTS:
        if name in body and not isinstance(body[name], str):  # which the server refuses, and list() would take apart
            body[name] = list(body[name])
    if isinstance(body["request_id"], Made):
        body["request_id"] = uuid.uuid4().hex
    if isinstance(when := body.get("deliver_at"), datetime):
        body["deliver_at"] = _rfc3339(when)
    return {
        name: value for name, value in body.items() if name == "msg" or (value not in (None, []) and value is not False)
    }


def _rfc3339(when: datetime) -> str:
    """Write a time as the server reads it; one without a zone is local time."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
