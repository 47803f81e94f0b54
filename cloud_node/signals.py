"""Signals on the eventlet hub: a handler alone would run only when the hub happens to return to Python."""

import os
import signal
from collections.abc import Callable

import eventlet
from eventlet.hubs import trampoline


def on_stop(told: Callable[[], None]) -> None:
    """Have *told* called, in a greenlet, at each SIGTERM and SIGINT from now on."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        while True:
            trampoline(read, read=True)
            os.read(read, 64)
            told()

    eventlet.spawn(watch)
