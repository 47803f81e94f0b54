"""How every Flask peer is served: by cloudpush's own WSGI server, until SIGTERM, without a log line a request."""

import logging
import signal

import flask

from app.server import Server
from app.settings import WebSettings


def serve(app: flask.Flask, port: int) -> None:
    """Serve on loopback; waitress' warning for each request that waits for a thread would cost CPU."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = Server(app, WebSettings(web_port=port))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()
