"""A Flask route that emits through python-socketio's write-only RedisManager, behind cloudpush's own WSGI server.

No broker, no job tier, no guarantee: what was emitted while a node did not listen is gone.  Arguments: port, Redis URL.
"""

import sys

import flask
import socketio

from bench.peers.served import serve


def main() -> None:
    """Serve ``POST /emit`` until SIGTERM."""
    port, redis_url = int(sys.argv[1]), sys.argv[2]
    emitter = socketio.RedisManager(redis_url, write_only=True)
    app = flask.Flask(__name__)

    @app.post("/emit")
    def emit() -> tuple[dict[str, str], int]:
        body = flask.request.get_json()
        emitter.emit("push", {"op": body["op"], "msg": body["msg"], "key": body["keys"][0]}, room=body["keys"][0])
        return {"status": "emitted"}, 202

    serve(app, port)


main()
