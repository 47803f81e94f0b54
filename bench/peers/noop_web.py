"""The least that a REST call costs here: a Flask route that parses its body and answers.  Argument: port.

Behind cloudpush's own WSGI server.
"""

import sys

import flask

from bench.peers.served import serve


def main() -> None:
    """Serve ``POST /noop`` until SIGTERM."""
    app = flask.Flask(__name__)

    @app.post("/noop")
    def noop() -> tuple[dict[str, str], int]:
        body = flask.request.get_json()
        return {"push_id": "", "status": "accepted", "href": body["keys"][0]}, 202

    serve(app, int(sys.argv[1]))


main()
