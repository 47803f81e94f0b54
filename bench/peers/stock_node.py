"""Stock python-socketio on eventlet, as its documentation says to run it.  Arguments: port, port for orders.

More than its defaults: ``max_size``, for more websockets than the 1,024 that eventlet.wsgi serves otherwise.
"""

import sys

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
from contextlib import nullcontext  # noqa: E402

import eventlet.wsgi  # noqa: E402
import socketio  # noqa: E402

from bench.peers.bodies import ALL  # noqa: E402
from bench.peers.orders import Orders  # noqa: E402

_MOST_SESSIONS = 50_000


class Stock:
    """Sessions answer to their key and to ALL by being in rooms of these names."""

    together = nullcontext

    def __init__(self) -> None:
        self.sio = socketio.Server(async_mode="eventlet", async_handlers=False)
        self.sio.on("connect", self._connect)

    def send(self, key: str, body: bytes) -> None:
        """Emit to the room."""
        self.sio.emit("push", {"op": 9, "msg": json.loads(body), "key": key, "push_id": ""}, room=key)

    def _connect(self, sid: str, _environ: object, auth: dict[str, str]) -> None:
        self.sio.enter_room(sid, auth["key"])
        self.sio.enter_room(sid, ALL)


def main() -> None:
    """Serve until killed."""
    port, orders_port = map(int, sys.argv[1:3])
    stock = Stock()
    Orders(stock).listen(orders_port)
    listener = eventlet.listen(("127.0.0.1", port))
    eventlet.wsgi.server(listener, socketio.WSGIApp(stock.sio), max_size=_MOST_SESSIONS, log_output=False)


main()
