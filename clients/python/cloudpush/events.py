"""What a listener tells: messages, and what happens to the session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudpush.cursors import Place


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is known everywhere: pushes reach it from now on.

    *recovered* tells, for each key that had a cursor, whether nothing was missed; *cursors* where each key goes on.
    """

    key: str
    node: str
    session: str
    recovered: Mapping[str, bool] = field(default_factory=dict)
    cursors: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One push; a durable one has a place in its key's inbox.  *raw* is the whole payload."""

    op: int
    msg: Any
    key: str
    push_id: str
    offset: int | None = None
    epoch: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def durable(self) -> bool:
        """Whether it was stored before it was sent: then it is acknowledged once its handler has returned."""
        return self.offset is not None

    @property
    def place(self) -> Place | None:
        """Where it is in its key's inbox."""
        return None if self.offset is None else Place(self.epoch or "", self.offset)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of *key* were lost; what follows continues after *place*.

    *reason*: ``trimmed`` (the inbox no longer reaches back), ``epoch`` (the store lost data), or ``not recovered``
    (either of them, found at a connect or a join).
    """

    key: str
    reason: str
    place: Place


def message_of(said: Mapping[str, Any]) -> Message:
    """Read the payload of ``push``; KeyError, TypeError or ValueError if it is not one."""
    offset = said.get("offset")
    return Message(
        op=int(said["op"]),
        msg=said["msg"],
        key=str(said["key"]),
        push_id=str(said["push_id"]),
        offset=None if offset is None else int(offset),
        epoch=None if offset is None else str(said["epoch"]),
        raw=said,
    )


def ready_of(said: Mapping[str, Any]) -> Ready:
    """Read the payload of ``ready``; KeyError, TypeError or ValueError if it is not one."""
    cursors = {str(key): place_of(place) for key, place in said.get("cursors", {}).items()}
    recovered = {str(key): bool(whole) for key, whole in said.get("recovered", {}).items()}
    return Ready(str(said["key"]), str(said["node"]), str(said["session"]), recovered, cursors)


def gap_of(said: Mapping[str, Any]) -> Gap:
    """Read the payload of ``gap``; KeyError, TypeError or ValueError if it is not one."""
    return Gap(str(said["key"]), str(said["reason"]), place_of(said))


def place_of(said: Mapping[str, Any]) -> Place:
    """Read ``{epoch, offset}``; KeyError, TypeError or ValueError if it is not one."""
    return Place(str(said["epoch"]), int(said["offset"]))
