"""Requests that end their session: malformed, overlapping, or given up; and those that come too late."""

import socket
from collections.abc import Callable, Iterator

import eventlet
import pytest

from cloud_node.wire.connection import CLOSE, NOOP
from tests.fakes.endpoint import BAD_REQUEST, UNKNOWN_SID, UPGRADE, WEBSOCKET, Endpoint, end_of
from tests.fakes.wire import reset, until


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.rig.close()


@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (b"", {}, "400 Bad Request"),
        (b"2", {}, "400 Bad Request"),
        (b"4good\x1ehello", {}, "400 Bad Request"),
        (b"4\xff", {}, "400 Bad Request"),
        (b"4a", {"CONTENT_LENGTH": "-1"}, "400 Bad Request"),
        (b"4a", {"CONTENT_LENGTH": "x"}, "400 Bad Request"),
        (b"4a", {"CONTENT_LENGTH": "\u0663"}, "400 Bad Request"),
        (b"4" * 10_001, {}, "413 Content Too Large"),
        (b"4" * 10_001, {"CONTENT_LENGTH": "5"}, "413 Content Too Large"),
        (b"4" * 10_001, {"CONTENT_LENGTH": ""}, "413 Content Too Large"),
        (b"4a", {"CONTENT_LENGTH": "9" * 5000}, "413 Content Too Large"),
    ],
)
def test_a_body_that_no_client_sends_is_refused_whole_and_ends_the_session(
    endpoint: Endpoint, body: bytes, environ: dict[str, str], status: str
) -> None:
    connection = endpoint.polling()
    assert endpoint.refusal(endpoint.post(connection, body, **environ)) == (status, 3, "Bad request")
    assert endpoint.rig.server.messages == []
    assert endpoint.rig.server.reasons == [endpoint.rig.server.reason.TRANSPORT_ERROR]
    assert endpoint.refusal(endpoint.poll(connection)) == UNKNOWN_SID


def test_a_body_at_the_limit_is_taken(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    assert endpoint.post(connection, b"4" + b"x" * 9_999) == b"ok"


def test_a_body_that_says_that_it_is_too_long_is_not_read(endpoint: Endpoint) -> None:
    class Untouchable:
        def read(self, _size: int) -> bytes:
            raise AssertionError("read")

    connection = endpoint.polling()
    answer = endpoint.post(connection, Untouchable(), CONTENT_LENGTH="10001")
    assert endpoint.refusal(answer)[0] == "413 Content Too Large"


def test_a_body_that_breaks_off_in_a_chunk_is_malformed(endpoint: Endpoint) -> None:
    class Broken:
        def read(self, _size: int) -> bytes:
            raise ValueError("bad chunk size")

    connection = endpoint.polling()
    assert endpoint.refusal(endpoint.post(connection, Broken())) == BAD_REQUEST
    assert connection.closed


class _Slow:
    """A body that comes when a test lets it; *meanwhile* happens before."""

    def __init__(self, body: bytes, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.come = eventlet.event.Event()
        self._body = body
        self._meanwhile = meanwhile

    def read(self, _size: int) -> bytes:
        self.come.wait()
        self._meanwhile()
        return self._body


def test_two_posts_at_once_end_the_session(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    slow = _Slow(b"4one")
    first = endpoint.begin(endpoint.post, connection, slow)
    assert endpoint.refusal(endpoint.post(connection, b"4two")) == BAD_REQUEST
    assert connection.closed
    slow.come.send(True)
    end_of(first)
    assert endpoint.rig.server.messages == []
    assert not endpoint.requests._posting


def test_two_polls_at_once_end_the_session(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    first = endpoint.begin(endpoint.poll, connection)
    assert endpoint.refusal(endpoint.poll(connection)) == BAD_REQUEST
    assert end_of(first) == CLOSE
    assert endpoint.rig.server.reasons == [endpoint.rig.server.reason.TRANSPORT_ERROR]


def test_a_post_and_a_poll_at_once_are_fine(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    poll = endpoint.begin(endpoint.poll, connection)
    assert endpoint.post(connection, b"4a") == b"ok"
    endpoint.rig.engine.fanout.send(connection, b"4b")
    assert end_of(poll) == b"4b"


def test_a_post_whose_session_has_moved_to_a_websocket_meanwhile_is_refused_and_the_session_goes_on(
    endpoint: Endpoint,
) -> None:
    """Else two greenlets would handle one session's messages, and those in its inbox would be lost."""
    connection = endpoint.polling()
    peer = endpoint.rig.upgrading(connection)

    def upgrade() -> None:
        peer.say("2probe", "5", "4one", "4two")
        until(lambda: len(connection._inbox or ()) == 2, endpoint.rig.engine.reactor)

    slow = _Slow(b"4posted", upgrade)
    post = endpoint.begin(endpoint.post, connection, slow)
    slow.come.send(True)
    assert endpoint.refusal(end_of(post)) == BAD_REQUEST
    endpoint.rig.turn()
    assert endpoint.rig.server.messages == ["one", "two"]
    assert not connection.closed


def test_a_post_whose_session_has_ended_meanwhile_is_refused(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    slow = _Slow(b"4late\x1e3", lambda: connection.end("x"))
    post = endpoint.begin(endpoint.post, connection, slow)
    slow.come.send(True)
    assert endpoint.refusal(end_of(post)) == BAD_REQUEST
    assert endpoint.rig.server.messages == []


def test_the_last_word_to_a_session_is_given_to_its_next_poll_and_then_it_is_unknown(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    endpoint.rig.engine.fanout.send(connection, b"4a")
    connection.end(endpoint.rig.server.reason.SERVER_DISCONNECT)
    assert endpoint.ask(f"{WEBSOCKET}&sid={connection.sid}", **UPGRADE)
    assert endpoint.status == "400 Bad Request"
    assert endpoint.poll(connection) == b"4a\x1e6"
    assert endpoint.refusal(endpoint.poll(connection)) == UNKNOWN_SID
    assert not endpoint.rig.engine._leaving


# A client that goes while its poll waits


@pytest.mark.parametrize("go", [socket.socket.close, reset])
def test_a_poll_whose_client_has_gone_ends_the_session(endpoint: Endpoint, go: Callable[[socket.socket], None]) -> None:
    connection = endpoint.polling()
    ours, theirs = endpoint.rig.pair()
    poll = endpoint.begin(endpoint.poll, connection, socket=ours)
    go(theirs)
    endpoint.rig.until(lambda: connection.closed)
    assert endpoint.rig.server.reasons == [endpoint.rig.server.reason.TRANSPORT_CLOSE]
    end_of(poll)
    assert len(endpoint.rig.engine.reactor) == 0


def test_a_request_that_comes_behind_a_poll_that_waits_is_left_alone(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    ours, theirs = endpoint.rig.pair()
    poll = endpoint.begin(endpoint.poll, connection, socket=ours)
    theirs.sendall(b"GET /")
    endpoint.rig.until(lambda: len(endpoint.rig.engine.reactor) == 0)
    assert not connection.closed
    assert ours.recv(100) == b"GET /"
    connection.release()
    assert end_of(poll) == NOOP


def test_an_answered_poll_is_watched_no_more(endpoint: Endpoint) -> None:
    connection = endpoint.polling()
    ours, theirs = endpoint.rig.pair()
    poll = endpoint.begin(endpoint.poll, connection, socket=ours)
    assert len(endpoint.rig.engine.reactor) == 1
    endpoint.rig.engine.fanout.send(connection, b"4a")
    assert end_of(poll) == b"4a"
    assert len(endpoint.rig.engine.reactor) == 0
    theirs.close()
    endpoint.rig.turn()
    assert not connection.closed
