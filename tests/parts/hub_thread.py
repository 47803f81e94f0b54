"""An eventlet hub on a native thread of its own, with the bridge to it, and a gate that keeps it busy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import eventlet
from eventlet.event import Event

from cloud_node.bridge import Bridge

SOON_S = 5.0


class HubThread:
    """A hub that serves the bridge, as a node does; ends with the bridge, or by a call of *stop* on it."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self._thread.start()
        assert self._started.wait(SOON_S)

    def _run(self) -> None:
        self._asked = Event()
        eventlet.spawn(self.bridge.serve).link(lambda _: self.stop())
        self._started.set()
        self._asked.wait()
        self.bridge.close()

    def stop(self) -> None:
        """End; on the hub's thread only."""
        if not self._asked.ready():
            self._asked.send(True)

    def end(self) -> None:
        """End, and wait for it."""
        self.bridge.close()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


class Gate:
    """Keeps the hub busy, natively, until it is opened."""

    def __init__(self, bridge: Bridge) -> None:
        self.opened = threading.Event()
        self._reached = threading.Event()
        bridge.post(self._hold)
        assert self._reached.wait(SOON_S)

    def _hold(self) -> None:
        self._reached.set()
        assert self.opened.wait(2 * SOON_S)


@contextmanager
def busy(bridge: Bridge) -> Iterator[None]:
    """Keep the hub busy meanwhile."""
    gate = Gate(bridge)
    try:
        yield
    finally:
        gate.opened.set()
