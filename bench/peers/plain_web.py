"""The plain pipeline's Flask route: a confirmed Celery task a push, behind cloudpush's own WSGI server.

Arguments: port, RabbitMQ URL, host:port of the node's gRPC.
"""

import sys

import flask

from bench.peers import plain_tasks
from bench.peers.served import serve


def main() -> None:
    """Serve ``POST /push`` until SIGTERM."""
    port, broker_url, node = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    plain_tasks.app.conf.broker_url = broker_url
    app = flask.Flask(__name__)

    @app.post("/push")
    def push() -> tuple[dict[str, str], int]:
        body = flask.request.get_json()
        task = plain_tasks.push.apply_async(
            (node, body["keys"][0], body["op"], body["msg"]), retry=True, retry_policy=plain_tasks.RETRY
        )
        return {"push_id": task.id, "status": "accepted"}, 202

    serve(app, port)


main()
