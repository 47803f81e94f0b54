"""The data-path heartbeat: how old is the last one that came back."""

import threading
from typing import Any

import amqp
import pytest
import redis

from cloud_node.probe import Probe
from proto.message import Message, Push


class _Time:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Time:
    clock = _Time()
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    return clock


@pytest.fixture
def probe() -> Probe:
    return Probe("memory://", "10.0.0.1:9500", 5.0, lambda: "01J0", lambda: None, now_ms=lambda: 1)


def _sent(at: float) -> Message:
    return Message(9, repr(at).encode())


def test_it_is_addressed_to_the_node_itself(probe: Probe) -> None:
    assert probe.key == "probe:10.0.0.1:9500"


def test_before_the_first_one_is_back_there_is_no_age_and_no_health(probe: Probe) -> None:
    assert probe.age_ms is None
    assert not probe.fresh


def test_its_age_counts_from_when_it_was_sent(probe: Probe, clock: _Time) -> None:
    probe.arrived(_sent(999.5))
    assert probe.age_ms == 500
    clock.now += 1
    assert probe.age_ms == 1500


def test_an_older_one_that_comes_late_changes_nothing(probe: Probe, clock: _Time) -> None:
    probe.arrived(_sent(999))
    probe.arrived(_sent(990))
    assert probe.age_ms == 1000


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b'"1"', b"nan", b"inf", b"1001.0", b"\xff"])
def test_what_no_probe_of_this_process_can_be_changes_nothing(probe: Probe, clock: _Time, body: bytes) -> None:
    probe.arrived(Message(9, body))
    assert probe.age_ms is None
    assert not probe.fresh


def test_it_is_stale_after_three_went_missing_and_fresh_with_the_next(probe: Probe, clock: _Time) -> None:
    probe.arrived(_sent(1000))
    clock.now = 1000 + 3 * 5 + 1.9
    assert probe.fresh
    clock.now = 1000 + 3 * 5 + 2
    assert not probe.fresh
    probe.arrived(_sent(clock.now - 0.1))
    assert probe.fresh


@pytest.mark.parametrize(
    "error",
    [
        amqp.ConnectionForced("the broker is shutting down"),
        amqp.RecoverableConnectionError("connection closed"),
        amqp.NotFound("no exchange"),
        redis.ConnectionError("connection closed by server"),
        ConnectionResetError("reset"),
        RuntimeError("a fault of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_broker_does_the_next_probe_is_sent(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("memory://", "10.0.0.1:9500", 0.01, lambda: "01J0", lambda: None, now_ms=lambda: 1)
    faults, sent = [error], threading.Event()

    def send(_producer: object) -> None:
        if faults:
            raise faults.pop()
        sent.set()

    monkeypatch.setattr(probe, "_send", send)
    probe.start()
    assert sent.wait(5)
    probe.stop()
    assert not probe._thread.is_alive()


def test_a_probe_is_a_push_task_of_high_priority_that_does_not_outlive_its_use() -> None:
    published: list[tuple[Any, dict[str, Any]]] = []

    class _Producer:
        def publish(self, body: Any, **options: Any) -> None:
            published.append((body, options))

    probe = Probe("memory://", "10.0.0.1:9500", 5.0, lambda: "01J0", lambda: None, now_ms=lambda: 1)
    probe._send(_Producer())
    [(body, options)] = published
    push = Push.from_payload(body[0][0])
    assert push.keys == ("probe:10.0.0.1:9500",)
    assert push.expires_ms - push.accepted_ms == 10_000
    assert options["routing_key"] == "cloudpush.high"
    assert options["headers"]["task"] == "cloudpush.push"
    assert options["delivery_mode"] == 1, "not worth a write to the broker's disk"
    probe.arrived(push.message)
    assert probe.fresh


def test_only_the_first_one_that_comes_back_is_news(clock: _Time) -> None:
    news: list[str] = []
    probe = Probe(
        "memory://", "10.0.0.1:9500", 5.0, lambda: "01J0", lambda: news.append("the data path works"), now_ms=lambda: 1
    )
    probe.arrived(Message(9, b"null"))
    assert news == []
    for at in (990.0, 995.0, 999.0):
        probe.arrived(_sent(at))
    assert news == ["the data path works"]
