"""A node's presence on a store in memory, its loop turned by hand."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cloud_node.presence import Presence
from store.registry import NodeInfo
from tests.fakes.memory_directory import MemoryDirectory, MemoryRegistry, MemoryStore

TTL_S = 10.0


class Clock:
    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class WatchedRegistry(MemoryRegistry):
    """Watches leases begin: *before(info)* is asked at that very moment."""

    def __init__(self, store: MemoryStore, before: Callable[[NodeInfo], None]) -> None:
        super().__init__(store)
        self._before = before

    def register(self, info: NodeInfo, ttl_s: float) -> None:
        self._before(info)
        super().register(info, ttl_s)


class _NothingToDo(Exception):
    """What a wait is, where nobody may wait."""


class _NeverWaits(threading.Condition):
    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        raise _NothingToDo


def by_hand(presence: Presence) -> Presence:
    """Make *presence* one whose loop is turned with :func:`turn`."""
    presence._noted.changed = _NeverWaits()
    return presence


def turn(presence: Presence, *, renews: bool = False) -> None:
    """Turn the loop once, up to where it would wait."""
    if renews:
        presence.renew_soon(0)
    with suppress(_NothingToDo):
        presence._step()


def presence_of(registry: MemoryRegistry, store: MemoryStore, **options: Any) -> Presence:
    """A presence called ``h:1#boot.<generation>``."""
    return Presence(
        registry,
        MemoryDirectory(store),
        lambda node: NodeInfo(node, "h:1", "http://h:2", draining=options.get("draining", lambda: False)()),
        lambda generation: f"h:1#boot.{generation}",
        lease_ttl_s=TTL_S,
        renew_every_s=options.get("renew_every_s", 3.0),
    )
