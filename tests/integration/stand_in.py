"""Stands in for a tier: ``stand_in.py PORT [stubborn]`` answers 200 to everything; stubborn, it ignores SIGTERM."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class _Ok(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("stubborn", flush=True)
    HTTPServer(("127.0.0.1", int(sys.argv[1])), _Ok).serve_forever()
