"""A tiny HTTP server that answers what a test told it to, and remembers what it was asked."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOSE: tuple[int, None] = (0, None)  # no answer: the connection is closed once the request is read


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class StandIn:
    """Answers requests with *answers*, one after the other; the last one for ever."""

    url: str = ""
    answers: deque[tuple[int, Any, dict[str, str]]] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def will(self, status: int, body: Any, **headers: str) -> None:
        """Add an answer."""
        self.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


@contextmanager
def serving() -> Iterator[StandIn]:
    """Run a stand-in on a free port."""
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stand_in.asked.append(
                Asked(self.command, self.path, dict(self.headers), json.loads(sent) if sent else None)
            )
            status, body, headers = stand_in.answers.popleft() if len(stand_in.answers) > 1 else stand_in.answers[0]
            if status == 0:
                self.close_connection = True
                return
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
