"""The data-path heartbeat: how old is the last one that came back."""

import pytest

from cloud_node.probe import Probe
from proto.message import Message


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
    return Probe("memory://", "10.0.0.1:9500", 5.0, lambda: "01J0", lambda: None)


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
