"""Pushes that are served on the server's own thread: their answers are kept back until the broker has spoken."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from app.broker import Call
from app.intake import HandOver
from proto.errors import BrokerUnavailable
from tests.contract.test_http_edges import Served, post, read_answer, serving
from tests.parts.process import until

_LONG_S = 10.0
_JSON = b"Content-Type: application/json\r\n"


@dataclass
class Holding:
    """A committer that ends what it is given when the test says so."""

    held: list[HandOver] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    groups: list[int] = field(default_factory=list)
    refuses: str = ""

    def check(self) -> None:
        if self.refuses:
            raise BrokerUnavailable(self.refuses)

    def begin(self, handovers: Sequence[HandOver]) -> None:
        assert all(handover.claim() for handover in handovers)
        self.held += handovers
        self.groups.append(len(handovers))

    def commit(self, call: Call, timeout_s: float) -> None:
        assert timeout_s > 0
        assert call.argument
        self.threads.add(threading.current_thread().name)

    def commit_all(self, calls: Sequence[Call], timeout_s: float) -> list[BrokerUnavailable | None]:
        for call in calls:
            self.commit(call, timeout_s)
        return [None] * len(calls)

    def until(self, number: int) -> None:
        until(lambda: len(self.held) == number, _LONG_S, f"{number} pushes to be handed over")


@contextmanager
def _holding(**settings: Any) -> Iterator[tuple[Served, Holding]]:
    with serving(quick=True, **settings) as served:
        holding = Holding()
        for name in ("check", "begin", "commit", "commit_all"):
            setattr(served.web.kept, name, getattr(holding, name))
        yield served, holding
        for handover in holding.held:
            if not handover.ended:
                handover.end()


def _push(key: str = "alice", **fields: Any) -> bytes:
    body = orjson.dumps({"keys": [key], "msg": 1, **fields})
    return post(_JSON + b"Content-Length: %d\r\n" % len(body), body)


def test_one_thread_holds_many_answers_and_gives_each_when_its_own_push_is_confirmed() -> None:
    with _holding() as (served, holding):
        sockets = [served.connection() for _ in range(50)]
        for number, sock in enumerate(sockets):
            sock.sendall(_push(f"key-{number}"))
        holding.until(50)
        holding.held.sort(key=lambda handover: int(orjson.loads(handover.call.argument)["keys"][0][4:]))
        for number in reversed(range(50)):
            holding.held[number].end("the broker refused the message" if number % 2 else None)
            status, headers, body = read_answer(sockets[number])
            assert status == (503 if number % 2 else 202)
            if number % 2:
                assert (headers["retry-after"], headers["content-type"]) == ("1", "application/problem+json")
                assert orjson.loads(body)["detail"] == "the broker refused the message"
            else:
                assert orjson.loads(body)["push_id"] == holding.held[number].call.call_id
            assert headers["cache-control"] == "no-store"
        for sock in sockets:
            sock.close()
        text = served.web.get("/metrics").text.splitlines()
        assert 'cloudpush_pushes_accepted_total{priority="normal"} 25.0' in text
        assert 'cloudpush_pushes_refused_total{status="503"} 25.0' in text


def test_what_arrives_together_is_handed_over_together_within_a_bound() -> None:
    inside, go_on = threading.Event(), threading.Event()
    with _holding() as (served, holding):
        app = served.server._dispatcher._app

        def slowly(environ: Any, start_response: Any) -> Any:
            inside.set()
            assert go_on.wait(_LONG_S)
            return app(environ, start_response)

        sockets = [served.connection() for _ in range(21)]
        for sock in sockets:  # the server knows them all
            sock.sendall(_push(nonsense=1))
            assert read_answer(sock)[0] == 422
        served.server._dispatcher._app = slowly
        sockets[0].sendall(_push())
        assert inside.wait(_LONG_S)
        for sock in sockets[1:]:
            sock.sendall(_push())
        go_on.set()
        holding.until(21)
        assert holding.groups == [1, 16, 4]
        for handover in holding.held:
            handover.end()
        for sock in sockets:
            assert read_answer(sock)[0] == 202
            sock.close()


def test_im_clouds_callers_get_theirs_in_the_envelope() -> None:
    with _holding() as (served, holding):
        body = b'{"msg":1}'
        raw = post(_JSON + b"Content-Length: %d\r\n" % len(body), body, b"/im/push/all")
        for reason, code in ((None, 0), ("nacked", 503)):
            with served.connection() as sock:
                sock.sendall(raw)
                holding.until(len(holding.held) or 1)
                until(lambda: not holding.held[-1].ended, _LONG_S, "the push")
                holding.held[-1].end(reason)
                assert orjson.loads(read_answer(sock)[2])["code"] == code


def test_a_confirm_that_does_not_come_is_a_503_after_the_deadline_and_a_late_one_changes_nothing() -> None:
    with _holding(confirm_deadline_s=0.2) as (served, holding), served.connection() as sock:
        sock.sendall(_push())
        status, _, body = read_answer(sock)
        assert (status, orjson.loads(body)["detail"]) == (503, "the broker did not confirm in time")
        holding.held[0].end()
        sock.sendall(_push())
        holding.until(2)
        holding.held[1].end()
        assert orjson.loads(read_answer(sock)[2])["push_id"] == holding.held[1].call.call_id


def test_requests_that_come_in_one_piece_are_answered_in_their_order() -> None:
    with _holding() as (served, holding), served.connection() as sock:
        sock.sendall(_push("a") + _push("b", nonsense=1) + _push("c"))
        holding.until(1)
        holding.held[0].end()
        holding.until(2)
        holding.held[1].end()
        with sock.makefile("rb") as stream:
            assert [_status(stream) for _ in range(3)] == [202, 422, 202]


def test_a_broker_that_is_known_to_be_away_is_a_503_at_once() -> None:
    with _holding() as (served, holding):
        holding.refuses = "the broker cannot be reached"
        status, headers, _ = served.ask(_push())
        assert (status, headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "fields", [{"durable": True}, {"trace": True}, {"delay_s": 5}, {"request_id": "one"}, {"durable": True, "msg": "ü"}]
)
def test_what_asks_the_store_is_served_on_a_thread(fields: dict[str, Any]) -> None:
    with _holding() as (served, holding):
        assert served.ask(_push(**fields))[0] == 202
        assert {name.split("-")[0] for name in holding.threads} == {"waitress"}
        assert holding.held == []


def test_batches_that_fill_their_threads_leave_the_others_to_everybody_else() -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()
    with _holding() as (served, _):
        app = served.server._server.application

        def slowly(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"].endswith(":batch"):
                inside.release()
                assert go_on.wait(_LONG_S)
            return app(environ, start_response)

        served.server._server.application = slowly
        body = b'{"pushes":[{"keys":["a"],"msg":1}]}'
        sockets = [served.connection() for _ in range(10)]
        for sock in sockets:
            sock.sendall(post(_JSON + b"Content-Length: %d\r\n" % len(body), body, b"/v1/pushes:batch"))
        assert inside.acquire(timeout=_LONG_S)
        assert served.ask(_push(durable=True))[0] == 202
        assert served.ask(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
        go_on.set()
        for sock in sockets:
            assert read_answer(sock)[0] == 202
            sock.close()


def test_a_long_body_is_parsed_on_a_thread() -> None:
    with _holding() as (served, holding):
        assert served.ask(_push(msg="x" * 20_000))[0] == 202
        assert {name.split("-")[0] for name in holding.threads} == {"waitress"}


def test_a_client_that_hangs_up_leaves_nothing_behind() -> None:
    with _holding() as (served, holding):
        with served.connection() as sock:
            sock.sendall(_push())
            holding.until(1)
        holding.held[0].end()
        until(lambda: served.server.held == 0, _LONG_S, "the answer to be dropped")
        with served.connection() as sock:
            sock.sendall(_push())
            holding.until(2)
            holding.held[1].end()
            assert read_answer(sock)[0] == 202


def test_a_stop_waits_for_what_is_held() -> None:
    with _holding() as (served, holding), served.connection() as sock:
        sock.sendall(_push())
        holding.until(1)
        served.server.stop()
        holding.held[0].end()
        assert read_answer(sock)[0] == 202
        served.thread.join(_LONG_S)
        assert not served.thread.is_alive()


def test_a_fault_of_the_app_is_a_500_and_the_server_goes_on() -> None:
    with _holding() as (served, holding):
        app = served.server._dispatcher._app

        def fails(environ: Any, start_response: Any) -> Any:
            raise RuntimeError("boom")

        served.server._dispatcher._app = fails
        assert served.ask(_push())[0] == 500
        served.server._dispatcher._app = app
        with served.connection() as sock:
            sock.sendall(_push())
            holding.until(1)
            holding.held[0].end()
            assert read_answer(sock)[0] == 202


def _status(stream: Any) -> int:
    status, length = int(stream.readline().split()[1]), 0
    while (line := stream.readline().strip()) != b"":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split()[1])
    stream.read(length)
    return status
