"""cloudpush.rest: what is tried again, how long, and that nothing is delivered twice for it."""

import pytest

from cloudpush import Client, Problem, Unreachable
from cloudpush.retrying import FIRST_WAIT_S, LONGEST_WAIT_S, Attempts, Backoff
from tests.parts.process import free_port
from tests.unit.client.stand_in import LOSE, StandIn

_ACCEPTED = {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"}


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def patient(server: StandIn | str, clock: Clock, patience_s: float = 10.0, dice: float = 0.0) -> Client:
    url = server if isinstance(server, str) else server.url
    return Client(url, patience_s=patience_s, timeout_s=1.0, sleep=clock.sleep, clock=clock, dice=lambda: dice)


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again_not_before_the_server_says(server: StandIn, status: int) -> None:
    server.will(status, {}, Retry_After="2")
    server.will(status, {}, Retry_After="3")
    server.will(202, _ACCEPTED)
    clock = Clock()
    with patient(server, clock) as client:
        client.push(1, all=True)
    assert clock.waits == [2.0, 3.0]
    assert len({asked.body["request_id"] for asked in server.asked}) == 1


def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_request_id(server: StandIn) -> None:
    server.will(*LOSE)
    server.will(*LOSE)
    server.will(202, _ACCEPTED)
    clock = Clock()
    with patient(server, clock) as client:
        assert client.push(1, all=True).push_id == "p1"
    assert clock.waits == [FIRST_WAIT_S / 2, FIRST_WAIT_S]
    assert len(server.asked) == 3
    assert len({asked.body["request_id"] for asked in server.asked}) == 1


def test_without_a_request_id_a_push_whose_answer_was_lost_is_not_sent_again(server: StandIn) -> None:
    server.will(*LOSE)
    server.will(202, _ACCEPTED)
    with patient(server, Clock()) as client, pytest.raises(Unreachable):
        client.push(1, all=True, request_id=None)
    assert len(server.asked) == 1


@pytest.mark.parametrize("request_id", [None, "mine"])
def test_a_server_that_was_not_reached_is_tried_until_patience_ends(request_id: str | None) -> None:
    clock = Clock()
    url = f"http://127.0.0.1:{free_port()}"
    with patient(url, clock, dice=1.0) as client, pytest.raises(Unreachable, match="no connection"):
        client.push(1, all=True, request_id=request_id)
    assert clock.waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]  # the next, of 5 s, would end after 10 s


def test_retries_end_with_the_callers_patience_and_the_last_error(server: StandIn) -> None:
    server.will(503, {"title": "The broker cannot take it now"}, Retry_After="4")
    clock = Clock()
    with patient(server, clock) as client, pytest.raises(Problem) as refused:
        client.push(1, all=True)
    assert clock.waits == [4.0, 4.0]
    assert (refused.value.retry_after_s, refused.value.title) == (4.0, "The broker cannot take it now")


def test_an_error_of_tls_stays_one(server: StandIn) -> None:
    clock = Clock()
    url = server.url.replace("http:", "https:")
    with patient(url, clock) as client, pytest.raises(Unreachable, match="TLS failed"):
        client.online()
    assert clock.waits == []


def test_retry_at_once_is_not_at_once(server: StandIn) -> None:
    server.will(429, {}, Retry_After="0")
    clock = Clock()
    with patient(server, clock, patience_s=1) as client, pytest.raises(Problem):
        client.online()
    assert clock.waits[0] == FIRST_WAIT_S / 2
    assert len(server.asked) <= 8


def test_a_cancel_whose_answer_was_lost_is_told_from_the_receipt(server: StandIn) -> None:
    receipt = {
        "push_id": "p1", "state": "cancelled", "op": 9, "priority": "normal", "durable": True, "trace": False,
        "accepted_at": "2026-01-02T03:04:05.678Z", "expires_at": None,
        "keys": {"a": {"state": "cancelled"}, "b": {"state": "acked"}},
    }  # fmt: skip
    server.will(*LOSE)
    server.will(409, {"title": "too late"})
    server.will(200, receipt)
    with patient(server, Clock()) as client:
        cancelled = client.cancel("p1")
    assert (cancelled.cancelled, cancelled.too_late) == (("a",), {"b": "acked"})


def test_a_cancel_that_is_too_late_says_so(server: StandIn) -> None:
    server.will(409, {"title": "too late"})
    with patient(server, Clock()) as client, pytest.raises(Problem, match="409 too late"):
        client.cancel("p1")
    assert len(server.asked) == 1


def test_waits_grow_to_a_bound_and_half_of_each_is_random() -> None:
    for dice, share in ((0.0, 0.5), (1.0, 1.0)):
        attempts = Attempts(1e9, lambda: 0.0, lambda dice=dice: dice)  # type: ignore[misc]
        waits = [attempts.next_wait_s() for _ in range(10)]
        assert waits[0] == FIRST_WAIT_S * share
        assert waits[-1] == LONGEST_WAIT_S * share


def test_a_named_wait_is_the_least_and_a_quarter_more_at_most() -> None:
    for dice, wait_s in ((0.0, 8.0), (1.0, 10.0)):
        assert Attempts(100, lambda: 0.0, lambda dice=dice: dice).next_wait_s(8.0) == wait_s  # type: ignore[misc]


def test_a_session_comes_back_as_the_server_says() -> None:
    backoff = Backoff(lambda: 0.5)
    assert [backoff.next_s() for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    backoff.reset()
    backoff.learn({"min_ms": 100, "max_ms": 400, "factor": 3, "jitter": 0})
    assert [backoff.next_s() for _ in range(3)] == [0.4, 0.4, 0.4]
    backoff.reset()
    assert [round(backoff.next_s(), 3) for _ in range(3)] == [0.1, 0.3, 0.4]
    assert Backoff(lambda: 0.0).next_s() == 0.25
    assert Backoff(lambda: 1.0).next_s() == 0.75
