"""What a peer on eventlet is told to do, over TCP on loopback; a line is an order or a body to send to all.

Orders are JSON objects, answered by a line once done:
  {"do":"burst","count":200,"at_once":true}      to all, handed over at once, or with a turn of the hub after each
  {"do":"paced","count":50,"every_s":0.1}        to all, one after the other
  {"do":"unicast","count":20000,"sessions":1000} to each session in turn
  {"do":"lag"}                     how late the hub was since the last such order: {"p50_ms","p99_ms","max_ms"}
A line that begins with {"t": is a body, sent to all, not answered (bench/client/sender.c).
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import eventlet

from bench.peers.bodies import ALL, UNICAST_TURN, body, size_within
from bench.report import percentile

_TICK_S = 0.01
_MOST_TICKS = 1_000_000


class Server(Protocol):
    """What is measured."""

    def send(self, key: str, body: bytes) -> None:
        """Send one message to every session of *key*."""

    def together(self) -> AbstractContextManager[object]:
        """What is sent within is handed over at once, where the server has such a thing."""


class Orders:
    """Carries orders out on the hub's thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._late: list[float] = []
        self._watches = False

    def listen(self, port: int) -> None:
        """Serve orders, from a greenlet of its own."""
        eventlet.spawn(eventlet.serve, eventlet.listen(("127.0.0.1", port)), self._serve)

    def _serve(self, connection: Any, _address: object) -> None:
        with connection, connection.makefile("rwb") as lines:
            for line in lines:
                if line.startswith(b'{"t":'):
                    self._server.send(ALL, line.rstrip())
                    eventlet.sleep(0)
                    continue
                order = json.loads(line)
                answer = _ORDERS[order.pop("do")](self, **order)
                lines.write(json.dumps(answer or {}).encode() + b"\n")
                lines.flush()

    def _burst(self, count: int, *, at_once: bool, size: int = 0) -> None:
        numbers = iter(range(count))
        while (number := next(numbers, None)) is not None:
            with self._server.together():
                for it in (number, *(numbers if at_once else ())):
                    self._server.send(ALL, body(it, size or size_within(ALL)))
            eventlet.sleep(0)

    def _paced(self, count: int, every_s: float) -> None:
        began = time.monotonic()
        for number in range(count):
            eventlet.sleep(max(0.0, began + number * every_s - time.monotonic()))
            with self._server.together():
                self._server.send(ALL, body(number, size_within(ALL)))

    def _unicast(self, count: int, sessions: int) -> None:
        for first in range(0, count, UNICAST_TURN):
            with self._server.together():
                for i in range(first, min(count, first + UNICAST_TURN)):
                    key = f"s{i % sessions}"
                    self._server.send(key, body(i // sessions, size_within(key)))
            eventlet.sleep(0)

    def _lag(self) -> dict[str, float]:
        if not self._watches:  # not before: a clock that ticks is CPU time which the plain loop does not spend
            self._watches = True
            eventlet.spawn(self._watch)
        late, self._late = self._late or [0.0], []
        return {"p50_ms": percentile(late, 50), "p99_ms": percentile(late, 99), "max_ms": max(late)}

    def _watch(self) -> None:
        while len(self._late) < _MOST_TICKS:
            due = time.monotonic() + _TICK_S
            eventlet.sleep(_TICK_S)
            self._late.append(max(0.0, time.monotonic() - due) * 1000)


_ORDERS: dict[str, Callable[..., Any]] = {
    "burst": Orders._burst,
    "paced": Orders._paced,
    "unicast": Orders._unicast,
    "lag": Orders._lag,
}
