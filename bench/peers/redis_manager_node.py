"""A stock python-socketio node that hears of emits through Redis.  Arguments: port, Redis URL.

Its log says why it is deaf, if it is: python-socketio hands the reason to the log only as an extra.
"""

import logging
import sys

import eventlet

eventlet.monkey_patch()

import eventlet.wsgi  # noqa: E402
import socketio  # noqa: E402


def log() -> logging.Logger:
    """Make a log whose lines end with the reason."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(message)s: %(redis_exception)s", defaults={"redis_exception": ""})
    )
    logger = logging.getLogger("redis_manager_node")
    logger.addHandler(handler)
    return logger


def main() -> None:
    """Serve until killed; a session answers to its own key by entering a room of that name."""
    port, redis_url = int(sys.argv[1]), sys.argv[2]
    manager = socketio.RedisManager(redis_url, logger=log())
    sio = socketio.Server(async_mode="eventlet", client_manager=manager)

    @sio.event  # type: ignore[untyped-decorator]
    def connect(sid: str, _environ: object, auth: dict[str, str]) -> None:
        sio.enter_room(sid, auth["key"])
        sio.start_background_task(sio.emit, "ready", {}, to=sid)

    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", port)), socketio.WSGIApp(sio), log_output=False)


main()
