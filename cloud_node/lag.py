"""Measures how late the hub is, and how much waits for it.  Refuses to do anything about it."""

import time
from collections.abc import Sized

import eventlet

from cloud_node import metrics

_EVERY_S = 0.25  # more often would cost an idle node a third of its CPU time


def measure(bridge: Sized) -> None:
    """Measure four times a second; a greenlet is kept by this."""
    while True:
        due = time.monotonic() + _EVERY_S
        eventlet.sleep(_EVERY_S)
        metrics.HUB_LAG_SECONDS.observe(max(0.0, time.monotonic() - due))
        metrics.BRIDGE_WAITING.set(len(bridge))
