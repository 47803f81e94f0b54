"""Which WSGI server should carry the logic tier?  Measures three of them; the figures are in docs/adr/0002.

    python -m bench.wsgi_servers amqp://guest:guest@127.0.0.1:5672//

gunicorn and granian are no dependencies of ours: install them for the comparison, or they are left out.
"""

import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

THREADS = 32
CONNECTIONS = 16
ROUNDS = 3
BUSY_S = 3.0
LIGHT_S = 3.0
LIGHT_RATE = 50
_BODY = b'{"keys":["alice-phone"],"op":9,"msg":{"text":"hello there"}}'
_TICKS = os.sysconf("SC_CLK_TCK")


def noop() -> Flask:
    """An app with one route that does nothing."""
    app = Flask("noop")
    app.add_url_rule("/v1/pushes", "noop", lambda: {"status": "accepted"}, methods=["POST"])
    return app


def accept() -> Flask:
    """Our app, publishing for real; the store is taken for up."""
    from app.factory import Parts, create_app
    from app.intake import State
    from app.metrics import Metrics
    from app.settings import WebSettings
    from app.wsgi import make_committer
    from proto import log as logs
    from store.clock import StoreClock
    from tasks.celery import app as celery_app

    logs.configure("logic")
    settings = WebSettings()
    committer, _ = make_committer(settings, celery_app.amqp.as_task_v2)
    committer.start()
    nothing = type("Nothing", (), {})()
    parts = Parts(
        committer=committer,
        directory=nothing,
        registry=nothing,
        records=nothing,
        store_is_up=lambda: True,
        broker_state=lambda: State.UP,
        metrics=Metrics(),
        now_ms=StoreClock().now_ms,
    )
    return create_app(settings, parts)


def serve_waitress(app: str, port: int) -> None:
    """Run waitress in this process, as we do."""
    from app.server import Server
    from app.settings import WebSettings

    Server(globals()[app](), WebSettings(web_port=port, web_threads=THREADS)).run()


def command(server: str, app: str, port: int) -> list[str]:
    """Give the command line that serves *app* on *port*."""
    python = sys.executable
    if server == "gunicorn":
        target = f"bench.wsgi_servers:{app}()"
        options = ["-k", "gthread", "--threads", str(THREADS), "-w", "1", "-b", f"127.0.0.1:{port}"]
        return [python, "-m", "gunicorn", *options, target]
    if server == "granian":
        options = ["--interface", "wsgi", "--workers", "1", "--blocking-threads", str(THREADS), "--factory"]
        return [python, "-m", "granian", *options, "--no-log", "--port", str(port), f"bench.wsgi_servers:{app}"]
    return [python, "-c", f"from bench.wsgi_servers import serve_waitress as s; s({app!r}, {port})"]


def children(pid: int) -> Iterator[int]:
    """List *pid* and everything below it."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from children(int(child))


def cpu_s(pid: int) -> float:
    """Give the CPU seconds that *pid* and its children have used."""
    total = 0
    for each in children(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def free_port() -> int:
    """Find a port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Caller:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST /v1/pushes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}"
        self._request = head.encode() + b"\r\n\r\n" + _BODY

    def call(self) -> float:
        """Make a call; give its seconds."""
        began = time.perf_counter()
        self._sock.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        if b" 20" not in head[:16]:
            raise RuntimeError(head[:60])
        return time.perf_counter() - began

    def _more(self) -> bytes:
        part = self._sock.recv(65536)
        if not part:
            raise ConnectionError("closed")
        return part


@contextmanager
def running(server: str, app: str) -> Iterator[tuple[int, int]]:
    """Run a server; give its pid and port once it answers."""
    port = free_port()
    process = subprocess.Popen(command(server, app, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 15
    try:
        while True:
            try:
                Caller(port).call()
                break
            except (OSError, RuntimeError):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def light(port: int) -> list[float]:
    """Call at a steady, low rate."""
    caller, waits = Caller(port), []
    due = time.perf_counter()
    for _ in range(int(LIGHT_S * LIGHT_RATE)):
        waits.append(caller.call())
        due += 1 / LIGHT_RATE
        time.sleep(max(0.0, due - time.perf_counter()))
    return waits


def busy(port: int) -> int:
    """Call as fast as it goes on many connections; give the number of answers."""
    ends = time.perf_counter() + BUSY_S
    counts: list[int] = []

    def loop() -> None:
        caller, count = Caller(port), 0
        while time.perf_counter() < ends:
            caller.call()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=loop) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


@dataclass
class Figures:
    """Of one round with one server."""

    p50_ms: float
    p99_ms: float
    rate: float
    cpu_ms: float


def measure(server: str, app: str) -> Figures:
    """Run one round."""
    with running(server, app) as (pid, port):
        waits = sorted(light(port))
        before = cpu_s(pid)
        count = busy(port)
        cpu_ms = (cpu_s(pid) - before) / count * 1000
    return Figures(statistics.median(waits) * 1000, waits[int(len(waits) * 0.99)] * 1000, count / BUSY_S, cpu_ms)


def main() -> None:
    """Measure all, print a table of medians."""
    os.environ["CLOUDPUSH_BROKER_URL"] = sys.argv[1]
    servers = [name for name in ("gunicorn", "granian", "waitress") if importlib.util.find_spec(name)]
    print(f"{'':10}{'app':8}{'p50 ms':>8}{'p99 ms':>8}{'req/s':>8}{'CPU ms each':>13}")
    for app in ("noop", "accept"):
        # Round by round, so that a disturbance does not hit one server alone.
        rounds = [{server: measure(server, app) for server in servers} for _ in range(ROUNDS)]
        for server in servers:
            found = [figures[server] for figures in rounds]
            p50, p99, rate, cpu = (
                statistics.median(getattr(figures, name) for figures in found)
                for name in ("p50_ms", "p99_ms", "rate", "cpu_ms")
            )
            print(f"{server:10}{app:8}{p50:8.2f}{p99:8.2f}{rate:8.0f}{cpu:13.3f}", flush=True)


if __name__ == "__main__":
    main()
