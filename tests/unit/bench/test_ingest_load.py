"""bench/client/offer.c and caller.c: what the load of bench-ingest pushes, and what it counts of the answers."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.build import Programs, programs
from bench.ingest_load import Load, Offered, load
from tests.unit.bench.scripted import ScriptedServer, frame

_WAIT_S = 10.0
_SECOND_NS = 1_000_000_000
_KEYS = 3
_SHORT_S = 0.2

Answering = Callable[[int], bytes]  # number of the request, from 0 → what to say; nothing: hang up


@pytest.fixture(scope="module")
def compiled() -> Programs:
    return programs()


def answer(status: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


class Web:
    """An HTTP server that answers as the test says, in pieces of that many bytes if it says so."""

    def __init__(self, answering: Answering, piece: int = 0) -> None:
        self._answering = answering
        self._piece = piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.bodies: list[Any] = []
        self.paths: set[str] = set()
        self.connections = 0
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._acceptor, *self._threads]:
            thread.join(_WAIT_S)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                size = 0
                while (header := stream.readline()) != b"\r\n":
                    name, _, value = header.partition(b":")
                    size = int(value) if name.lower() == b"content-length" else size
                body = json.loads(stream.read(size))
                with self._lock:
                    self.paths.add(line.split()[1].decode())
                    said = self._answering(len(self.bodies))
                    self.bodies.append(body)
                if not said:
                    return
                for first in range(0, len(said), self._piece or len(said)):
                    connection.sendall(said[first : first + (self._piece or len(said))])


@contextmanager
def pushing(
    compiled: Programs, answering: Answering, *, callers: int = 2, piece: int = 0
) -> Iterator[tuple[Web, Load]]:
    web = Web(answering, piece)
    try:
        with load(compiled, web.port, _KEYS, prefix="k", connect=False) as (it, _):
            it.callers(callers, web.port, "/there")
            yield web, it
    finally:
        web.close()


def offered(compiled: Programs, answering: Answering, *, items: int = 1, piece: int = 0) -> tuple[Web, Offered]:
    with pushing(compiled, answering, piece=piece) as (web, it):
        return web, it.offer(_SHORT_S, items=items)


def test_each_key_is_pushed_to_in_turn_with_numbers_of_its_own(compiled: Programs) -> None:
    with pushing(compiled, lambda _: answer(202), callers=1) as (web, it):
        for _ in range(2):
            web.bodies.clear()
            it.reset()
            it.offer(_SHORT_S, fields=',"ttl_s":7')
            by_key: dict[str, list[int]] = {}
            for body in web.bodies:
                by_key.setdefault(body["keys"][0], []).append(body["msg"]["n"])
            assert set(by_key) == {"k0", "k1", "k2"}
            assert all(numbers == list(range(len(numbers))) for numbers in by_key.values())
    assert {body["ttl_s"] for body in web.bodies} == {7}
    assert web.paths == {"/there"}


@pytest.mark.parametrize("piece", [1, 9, 0])
@pytest.mark.parametrize("said", [answer(202), answer(202, b""), chunked(b'{"a":', b"1}"), chunked()])
def test_an_answer_is_read_whole_wherever_it_is_cut(compiled: Programs, said: bytes, piece: int) -> None:
    web, told = offered(compiled, lambda _: said, piece=piece)
    assert told.accepted == told.requests == len(web.bodies) > _KEYS
    assert (told.flaw, told.refused, web.connections) == ("", 0, 2)


def test_refusals_are_told_apart_from_failures(compiled: Programs) -> None:
    said = [429, 503, 503, 422]
    _, told = offered(compiled, lambda number: answer(said[number] if number < len(said) else 202))
    assert (told.throttled, told.unavailable, told.failed, told.flaw) == (1, 2, 1, "1 failed")
    assert told.accepted == told.requests - len(said)


def test_a_request_whose_connection_ends_is_broken_and_the_next_has_a_new_one(compiled: Programs) -> None:
    web, told = offered(compiled, lambda number: b"" if number == 1 else answer(202))
    assert (told.broken, told.accepted, web.connections) == (1, told.requests - 1, 3)


def test_of_a_batch_those_items_count_that_have_a_push_id(compiled: Programs) -> None:
    results = [{"push_id": "a", "status": "accepted"}, {"error": {"status": 422}}, {"push_id": "b"}]
    web, told = offered(compiled, lambda _: answer(202, json.dumps({"results": results}).encode()), items=3)
    assert told.accepted == 2 * told.requests
    assert {len(body["pushes"]) for body in web.bodies} == {3}


def test_a_rate_is_kept_and_each_push_says_when_it_was_due(compiled: Programs) -> None:
    with pushing(compiled, lambda _: answer(202)) as (web, it):
        told = it.offer(0.5, per_second=100)
    due = [body["msg"]["t"] for body in web.bodies]
    assert told.requests == len(due) == 50
    assert max(due) - min(due) == 49 * _SECOND_NS // 100


def test_a_lap_keeps_the_numbers_and_forgets_what_came(compiled: Programs) -> None:
    def message(number: int) -> bytes:
        return frame(b'42["push",{"msg":{"t":1,"n":%d}}]' % number)

    server = ScriptedServer(frame(b"0{}") + frame(b"40{}") + frame(b'42["ready",{}]'))
    try:
        with load(compiled, server.port, 1) as (it, _):
            assert server.hears() == b'40{"key":"s0"}'
            server.send(message(0) + message(1))
            it.wait(2, _WAIT_S)
            assert it.lap().received == 2
            server.send(message(2) + message(1))
            heard = it.wait_all(2, _WAIT_S)
            assert (heard.received, heard.duplicates, heard.gaps) == (2, 1, 0)
    finally:
        server.close()
