"""Readiness of many sockets, without a greenlet for each: one selector inside eventlet's hub.

The selector's own file descriptor is the only one that the hub knows, and it is registered once: adding an epoll to
another one walks through all that it holds, which at 20,000 sessions costs more than everything else of a connect.
All runs in the hub's own greenlet, so nothing that is called from here may wait.  Refuses to read or write.
"""

import selectors
import time
from collections.abc import Callable
from itertools import chain
from typing import Protocol

import structlog

_SLICE_S = 0.005  # after this long on ready sockets the hub serves its greenlets, and comes back
NOTHING, READ, WRITE = 0, selectors.EVENT_READ, selectors.EVENT_WRITE

log = structlog.get_logger()


class Watched(Protocol):
    """What is called when its file descriptor is ready; neither may switch greenlets."""

    def readable(self) -> None: ...  # noqa: D102
    def writable(self) -> None: ...  # noqa: D102


class Reactor:
    """Watches file descriptors and calls what belongs to them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._left: list[tuple[selectors.SelectorKey, int]] = []  # ready, and not called for want of time

    def __len__(self) -> int:
        return len(self._selector.get_map())

    def wait_for(self, fd: int, events: int, watched: Watched, *, before: int) -> None:
        """Call *watched* whenever *fd* is ready for *events*, in place of those waited for *before*.

        NOTHING ends it, and must come before *fd* is closed.
        """
        if events == before:
            return
        if not before:
            self._selector.register(fd, events, watched)
        elif events:
            self._selector.modify(fd, events, watched)
        else:
            self._selector.unregister(fd)

    def start(self, whenever_ready: Callable[[int, Callable[[int], None]], object]) -> None:
        """Begin: *whenever_ready(fd, call)* has the hub call, again and again while *fd* is ready."""
        whenever_ready(self._selector.fileno(), self.turn)

    def turn(self, _fd: int = -1) -> None:
        """Call what is ready, for a slice of time; who was not called is the first next time."""
        left, self._left = self._left, []
        events = iter(chain(left, [] if left else self._selector.select(0)))
        until = time.monotonic() + _SLICE_S
        current = self._selector.get_map()
        for key, ready in events:
            # An earlier one may have ended it, or closed it, and its number may be another's by now.
            if (now := current.get(key.fd)) is not None and now.data is key.data:
                _call(key.data, ready & now.events)
            if time.monotonic() > until:
                break
        self._left = list(events)


def _call(watched: Watched, events: int) -> None:
    try:
        if events & READ:
            watched.readable()
        if events & WRITE:
            watched.writable()
    except Exception as error:
        # One connection's trouble is not the others', and the hub forgets whoever raises.
        log.exception("serving a socket failed", reason=repr(error))
