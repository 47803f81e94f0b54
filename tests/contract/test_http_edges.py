"""The server itself, over sockets: malformed HTTP, slow clients, and the end on SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from app.broker import Call
from app.factory import is_heavy, is_quick
from app.intake import HandOver
from app.loop import Sorting
from app.server import Server
from tests.parts.process import free_port, listens, until
from tests.parts.web import Web, make_web

_LONG_S = 10.0
_BODY = b'{"keys":["alice"],"msg":1}'
_JSON = b"Content-Type: application/json\r\n"
_ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    web: Web
    server: Server
    thread: threading.Thread

    def ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send *raw*; give status, headers and body of the first answer."""
        with self.connection() as sock:
            sock.sendall(raw)
            return read_answer(sock)

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=_LONG_S)


def read_answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    with sock.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, stream.read(int(headers.get("content-length", "0")))


@contextmanager
def serving(*, quick: bool = False, **settings: Any) -> Iterator[Served]:
    web = make_web(**{"web_port": 0, "web_threads": 4, **settings})

    def begin(handovers: Sequence[HandOver]) -> None:
        web.kept.begin(handovers)  # or what a test has put in its place

    server = Server(web.app, web.settings, Sorting(is_quick, is_heavy, begin) if quick else Sorting())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Served(web, server, thread)
    finally:
        server.stop()
        thread.join(_LONG_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module", params=["on a thread", "on the server's thread"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(quick=request.param != "on a thread") as served:
        yield served


def post(headers: bytes, body: bytes = b"", path: bytes = b"/v1/pushes") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body


def test_a_chunked_push_is_read_like_any_other(served: Served) -> None:
    half = len(_BODY) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (_BODY[:half], _BODY[half:], b""))
    status, _, body = served.ask(post(_JSON + b"Transfer-Encoding: chunked\r\n", chunks))
    assert (status, orjson.loads(body)["status"]) == (202, "accepted")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (post(_JSON), 400),  # no length, so no body
        (post(_JSON + b"Content-Length: 0\r\n"), 400),
        (post(_JSON + b"Content-Length: x\r\n"), 400),
        (post(_JSON + b"Content-Length: -1\r\n"), 400),
        (post(_JSON + b"Content-Length: 1\r\nContent-Length: 2\r\n", b"{}"), 400),
        (post(_JSON + b"Content-Length: 9999999999\r\n"), 413),
        (post(_JSON + b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"), 400),
        (post(_JSON + b"Transfer-Encoding: gzip\r\n", b"{}"), 400),
        (post(_JSON + b"Transfer-Encoding: gzip, chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 400),
        (post(_JSON + b"X: " + b"x" * 40_000 + b"\r\n"), 431),
        (post(_JSON + b"No colon\r\n"), 400),
        (post(_JSON + b"Content-Length: 2\r\n", b"{}", b"/v1/%"), 404),
        (post(_JSON + b"Content-Length: 2\r\n", b"{}", b"/v1/\xff"), 400),
        (post(_JSON + b"Content-Length: 2\r\n", b"{}", b"http://[/"), 400),
        (b"BREW /v1/pushes HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"DELETE /v1/keys/%ff/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/nothing\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS to a port without
    ],
)
def test_malformed_http_is_answered_with_a_problem_and_accepts_nothing(served: Served, raw: bytes, status: int) -> None:
    before = len(served.web.kept.messages)
    found, headers, body = served.ask(raw)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert orjson.loads(body)["status"] == status
    assert len(served.web.kept.messages) == before


def test_a_body_at_the_limit_passes_the_server_and_one_above_is_413() -> None:
    with serving(max_body_bytes=4096) as served:
        for size, status in ((4096, 202), (4097, 413), (1_000_000, 413)):
            body = _BODY + b" " * (size - len(_BODY))
            assert served.ask(post(_JSON + b"Content-Length: %d\r\n" % size, body))[0] == status
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
            assert served.ask(post(_JSON + b"Transfer-Encoding: chunked\r\n", chunked))[0] == status


def test_a_batch_may_be_larger_than_a_push_and_comes_in_chunks_or_at_once() -> None:
    with serving(quick=True, max_body_bytes=4096, max_batch_bytes=2_000_000) as served:
        few, many = b'{"pushes":[%s]}' % _BODY, b'{"pushes":[%s]}' % b",".join([_BODY] * 1000)
        for pushes, count in ((few, 1), (many, 1000)):
            for size, status in ((len(pushes), 202), (2_000_000, 202), (2_000_001, 413)):
                body = pushes + b" " * (size - len(pushes))
                before = len(served.web.kept.messages)
                sent = post(_JSON + b"Content-Length: %d\r\n" % size, body, b"/v1/pushes:batch")
                found, _, answer = served.ask(sent)
                assert (found, len(served.web.kept.messages) - before) == (status, count if status == 202 else 0)
                assert status != 202 or len(orjson.loads(answer)["results"]) == count
                chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
                assert (
                    served.ask(post(_JSON + b"Transfer-Encoding: chunked\r\n", chunked, b"/v1/pushes:batch"))[0]
                    == status
                )


def test_head_has_the_headers_of_get_and_no_body(served: Served) -> None:
    with served.connection() as sock:
        sock.sendall(b"HEAD /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


def test_answers_on_one_connection_come_in_the_order_of_the_requests(served: Served) -> None:
    request = post(_JSON + b"Content-Length: %d\r\n" % len(_BODY), _BODY)
    with served.connection() as sock:
        sock.sendall(request + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" + request)
        assert [_status(sock) for _ in range(3)] == [202, 404, 202]


def _status(sock: socket.socket) -> int:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while length:
        length -= len(sock.recv(length))
    return int(head.split()[1])


def test_slow_clients_hold_no_threads() -> None:
    with serving(web_threads=2) as served, ExitStack() as slow:
        for begun in (
            b"POST /v1/pu",
            post(_JSON + b"Content-Length: 100\r\n", b"{"),
            post(b"Transfer-Encoding: chunked\r\n"),
        ):
            for _ in range(20):
                slow.enter_context(sock := served.connection())
                sock.sendall(begun)
        began = time.monotonic()
        status, _, _ = served.ask(post(_JSON + b"Content-Length: %d\r\n" % len(_BODY), _BODY))
        assert (status, time.monotonic() - began < 1) == (202, True)


def test_a_stop_answers_what_is_in_progress_and_takes_nothing_new() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slowly(call: Call, timeout_s: float) -> None:
        inside.set()
        assert go_on.wait(_LONG_S)

    with serving() as served:
        served.web.kept.commit = slowly  # type: ignore[method-assign]
        with served.connection() as idle, served.connection() as busy:
            busy.sendall(post(_JSON + b"Content-Length: %d\r\n" % len(_BODY), _BODY))
            assert inside.wait(_LONG_S)
            served.server.stop()
            until(lambda: not listens(served.server.port), _LONG_S, "new connections to be refused")
            assert idle.recv(1) == b""
            go_on.set()
            assert read_answer(busy)[0] == 202
        served.thread.join(_LONG_S)
        assert not served.thread.is_alive()


def _start(**env: str) -> "subprocess.Popen[str]":
    # Ports where nobody listens: the process must start, serve and stop without broker and store.
    nowhere = {
        "CLOUDPUSH_BROKER_URL": f"amqp://127.0.0.1:{free_port()}//",
        "CLOUDPUSH_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "app.wsgi"],
        cwd=_ROOT,
        env={**os.environ, **nowhere, **env},
        text=True,
        stderr=subprocess.PIPE,
    )


def test_the_process_serves_without_broker_and_store_says_so_and_ends_with_0_on_sigterm() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _start(CLOUDPUSH_WEB_PORT=str(port)) as process:
        try:
            until(lambda: listens(port), _LONG_S, "the port to be open")
            assert requests.get(f"{url}/health/live", timeout=_LONG_S).status_code == 200
            ready = requests.get(f"{url}/health/ready", timeout=_LONG_S)
            assert (ready.status_code, ready.json()) == (
                503,
                {"status": "unavailable", "broker": "down", "store": "down"},
            )
            for target in ({}, {"server": "127.0.0.1:9500"}):
                began = time.monotonic()
                push = requests.post(f"{url}/v1/pushes", json={"keys": ["a"], "msg": 1, **target}, timeout=_LONG_S)
                assert (push.status_code, push.headers["Retry-After"]) == (503, "1")
                assert time.monotonic() - began < 0.5
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(_LONG_S) == 0


def test_without_an_api_key_the_process_refuses_to_serve_others() -> None:
    with _start(CLOUDPUSH_WEB_HOST="192.0.2.1") as process:
        _, said = process.communicate(timeout=_LONG_S)
    assert process.returncode == 2
    assert "Set CLOUDPUSH_API_KEY" in said


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _start(CLOUDPUSH_WEB_PORT=str(port)) as process:
            _, said = process.communicate(timeout=_LONG_S)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in said


def test_a_setting_with_a_wrong_value_is_named() -> None:
    with _start(CLOUDPUSH_CONFIRM_DEADLINE_S="60") as process:
        _, said = process.communicate(timeout=_LONG_S)
    assert process.returncode == 2
    assert "confirm_deadline_s" in said
