"""bench/client/: what the compiled client counts is what was sent, and how late."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.build import Programs, programs
from bench.crowd import Crowd, Protocol, crowd
from bench.peers.bodies import body
from tests.parts.process import free_port
from tests.unit.bench.scripted import ScriptedServer, frame

_WAIT_S = 10.0
_SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def compiled() -> Programs:
    return programs()


@contextmanager
def session(compiled: Programs, protocol: Protocol, greeting: bytes = b"") -> Iterator[tuple[ScriptedServer, Crowd]]:
    server = ScriptedServer(greeting)
    try:
        with crowd(compiled, protocol, server.port, 1, ',"rooms":["bench"]') as sessions:
            yield server, sessions
    finally:
        server.close()


@contextmanager
def raw(compiled: Programs) -> Iterator[tuple[ScriptedServer, Crowd]]:
    with session(compiled, "raw") as (server, sessions):
        sessions.connect(1, _WAIT_S)
        yield server, sessions


@pytest.mark.parametrize("piece", [1, 7, 131, 0])
@pytest.mark.parametrize("size", [60, 125, 126, 3_000, 70_000])
def test_every_message_is_counted_wherever_the_stream_is_cut(compiled: Programs, size: int, piece: int) -> None:
    with raw(compiled) as (server, sessions):
        server.send(
            b"".join(frame(body(number, size)) for number in range(3)), piece if size < 70_000 else piece * 1000
        )
        heard = sessions.wait(3, _WAIT_S)
        assert (heard.received, heard.bytes, heard.flaw(3)) == (3, 3 * size, "")


@pytest.mark.parametrize(
    ("numbers", "flaw"),
    [
        ([0, 1, 2, 3], ""),
        ([0, 2, 3], "1 missing"),
        ([0, 1, 1, 2], "1 duplicates"),
        ([0, 2, 1, 3], "1 out of order"),
        ([0, 100, 1], "1 out of order"),  # further back than a session remembers
    ],
)
def test_a_message_that_is_missing_doubled_or_late_in_its_session_is_told(
    compiled: Programs, numbers: list[int], flaw: str
) -> None:
    with raw(compiled) as (server, sessions):
        server.send(b"".join(frame(body(number, 60)) for number in numbers))
        heard = sessions.wait(len(numbers), _WAIT_S)
        expected = len(set(numbers)) + flaw.count("missing")
        assert heard.flaw(expected) == flaw


def test_numbers_begin_again_after_a_reset(compiled: Programs) -> None:
    with raw(compiled) as (server, sessions):
        for _ in range(2):
            sessions.reset()
            server.send(frame(body(0, 60)) + frame(body(1, 60)))
            assert sessions.wait(2, _WAIT_S).flaw(2) == ""


def test_latency_is_from_the_time_in_the_payload_to_the_arrival(compiled: Programs) -> None:
    # So long ago that what the machine adds is nothing beside it; a bucket is at most 1.6 % wide.
    sent_ns = max(1, time.monotonic_ns() - 100 * _SECOND_NS)
    with raw(compiled) as (server, sessions):
        server.send(b"".join(frame(body(number, 60, sent_ns)) for number in range(100)))
        heard = sessions.wait(100, _WAIT_S)
        true_ms = (heard.last_arrival_ns - sent_ns) / 1e6
        assert heard.first_sent_ns == sent_ns
        assert heard.p50_ms == pytest.approx(true_ms, rel=0.02)
        assert heard.p99_ms == pytest.approx(true_ms, rel=0.02)
        assert heard.max_ms == pytest.approx(true_ms, rel=0.001)


def test_percentiles_are_those_of_the_nearest_rank(compiled: Programs) -> None:
    now_ns = time.monotonic_ns()
    soon_ns, old_ns = now_ns + 1_000 * _SECOND_NS, 1  # 98 from the future, which count as 0, and two from the boot
    with raw(compiled) as (server, sessions):
        server.send(b"".join(frame(body(i, 60, soon_ns if i < 98 else old_ns)) for i in range(100)))
        heard = sessions.wait(100, _WAIT_S)
        assert heard.p50_ms == 0
        assert heard.p99_ms == pytest.approx(heard.max_ms, rel=0.02)


def test_a_socketio_session_says_its_key_is_ready_when_told_and_answers_pings(compiled: Programs) -> None:
    handshake = b'0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}'
    greeting = b"".join(map(frame, (handshake, b'40{"sid":"y"}', b'42["ready",{"key":"s0"}]', b"2")))
    with session(compiled, "socketio", greeting) as (server, sessions):
        heard = sessions.connect(1, _WAIT_S)
        assert heard.connected == 1
        assert sessions.await_ready(1, _WAIT_S).ready == 1
        assert server.hears() == b'40{"key":"s0","rooms":["bench"]}'
        assert server.hears() == b"3"
        server.send(frame(b'42["push",{"op":9,"msg":' + body(0, 60) + b"}]"))
        assert sessions.wait(1, _WAIT_S).flaw(1) == ""


@pytest.mark.parametrize("piece", [1, 50, 1_000])
def test_nats_messages_are_found_wherever_frames_end(compiled: Programs, piece: int) -> None:
    stream = b"".join(b"MSG all 1 60\r\n" + body(number, 60) + b"\r\n" for number in range(5))
    with session(compiled, "nats", frame(b'INFO {"server_id":"x"}\r\nPONG\r\n', 2)) as (server, sessions):
        sessions.connect(1, _WAIT_S)
        assert b"SUB all 1\r\nSUB s0 2\r\n" in server.hears()
        pieces = [stream[first : first + piece] for first in range(0, len(stream), piece)]
        server.send(b"".join(frame(it, 2 if number == 0 else 0) for number, it in enumerate(pieces)))
        server.send(frame(b"PING\r\n", 2))
        assert sessions.wait(5, _WAIT_S).flaw(5) == ""
        assert server.hears() == b"PONG\r\n"


def test_a_session_that_the_server_ends_is_told(compiled: Programs) -> None:
    with raw(compiled) as (server, sessions):
        server.send(frame(b"\x03\xe8", 8))
        heard = sessions.await_ended(1, _WAIT_S)
        assert (heard.ended, heard.connected, heard.flaw(0)) == (1, 0, "1 sessions ended")


def test_a_server_that_is_not_there_is_told(compiled: Programs) -> None:
    with crowd(compiled, "raw", free_port(), 1) as sessions, pytest.raises(RuntimeError, match="did not connect"):
        sessions.connect(1, _WAIT_S)
