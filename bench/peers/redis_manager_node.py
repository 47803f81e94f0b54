"""A stock python-socketio node that hears of emits through Redis.  Arguments: port, Redis URL."""

import sys

import eventlet

eventlet.monkey_patch()

import eventlet.wsgi  # noqa: E402
import socketio  # noqa: E402


def main() -> None:
    """Serve until killed; a session answers to its own key by entering a room of that name."""
    port, redis_url = int(sys.argv[1]), sys.argv[2]
    sio = socketio.Server(async_mode="eventlet", client_manager=socketio.RedisManager(redis_url))

    @sio.event  # type: ignore[untyped-decorator]
    def connect(sid: str, _environ: object, auth: dict[str, str]) -> None:
        sio.enter_room(sid, auth["key"])
        sio.start_background_task(sio.emit, "ready", {}, to=sid)

    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", port)), socketio.WSGIApp(sio), log_output=False)


main()
