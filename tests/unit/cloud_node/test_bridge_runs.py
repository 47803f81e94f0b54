"""How the bridge groups calls into runs: gathered, flushed, then answered."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import eventlet
import pytest

from cloud_node import bridge as module
from cloud_node.bridge import Bridge, BridgeFull
from tests.parts.hub_thread import SOON_S, HubThread, busy
from tests.parts.process import until


class _Writes:
    """Notes what the bridge asks for; *flushing* is called in each flush."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.full = False
        self.flushing: Callable[[], None] = lambda: None

    def begin(self) -> None:
        self.seen.append("begin")

    def flush(self) -> None:
        self.seen.append("flush")
        self.flushing()


@pytest.fixture
def writes() -> _Writes:
    return _Writes()


@pytest.fixture
def hub(writes: _Writes) -> Iterator[HubThread]:
    hub = HubThread(Bridge(16, writes))
    yield hub
    hub.end()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def _waits(bridge: Bridge, calls: int) -> None:
    until(lambda: len(bridge) == calls, SOON_S, f"{calls} calls that wait")


def test_what_waits_is_one_run_with_one_flush(hub: HubThread, writes: _Writes, callers: ThreadPoolExecutor) -> None:
    with busy(hub.bridge):
        calls = []
        for number in range(3):
            calls.append(callers.submit(hub.bridge.call, SOON_S, writes.seen.append, str(number)))
            _waits(hub.bridge, number + 1)
    for call in calls:
        call.result(SOON_S)
    assert writes.seen[-5:] == ["begin", "0", "1", "2", "flush"]


def test_a_call_is_answered_when_its_run_is_flushed_not_before(
    hub: HubThread, writes: _Writes, callers: ThreadPoolExecutor
) -> None:
    flushing, go_on = threading.Event(), threading.Event()

    def flush() -> None:
        flushing.set()
        assert go_on.wait(SOON_S)

    writes.flushing = flush
    call = callers.submit(hub.bridge.call, SOON_S, str, 1)
    assert flushing.wait(SOON_S)
    with pytest.raises(TimeoutError):
        call.result(0.05)
    go_on.set()
    assert call.result(SOON_S) == "1"


def test_what_comes_while_a_flush_serves_other_greenlets_joins_the_next_run(
    hub: HubThread, writes: _Writes, callers: ThreadPoolExecutor
) -> None:
    more: list[Future[None]] = []

    def flush() -> None:
        if not more:
            for number in range(3):
                more.append(callers.submit(hub.bridge.call, SOON_S, writes.seen.append, f"late {number}"))
                _waits(hub.bridge, number + 1)
            eventlet.sleep(0.01)
            assert len(hub.bridge) == 3

    writes.flushing = flush
    hub.bridge.call(SOON_S, writes.seen.append, "first")
    for call in more:
        call.result(SOON_S)
    assert writes.seen == ["begin", "first", "flush", "begin", "late 0", "late 1", "late 2", "flush"]


def test_a_flush_that_fails_fails_the_calls_of_its_run_and_no_others(hub: HubThread, writes: _Writes) -> None:
    def fail() -> None:
        raise OSError("no socket")

    writes.flushing = fail
    with pytest.raises(OSError, match="no socket"):
        hub.bridge.call(SOON_S, int)
    with pytest.raises(ValueError, match="its own"):
        hub.bridge.begin_in_steps(lambda: _steps(writes, 0, ValueError("its own")))(SOON_S)
    writes.flushing = lambda: None
    assert hub.bridge.call(SOON_S, int) == 0


def _steps(writes: _Writes, number: int, error: Exception | None = None) -> Generator[None, None, str]:
    for step in range(number):
        writes.seen.append(f"step {step}")
        yield
    if error:
        raise error
    return "done"


def test_a_call_in_steps_gives_what_it_returns(hub: HubThread, writes: _Writes) -> None:
    assert hub.bridge.begin_in_steps(lambda: _steps(writes, 2))(SOON_S) == "done"
    assert writes.seen == ["begin", "step 0", "step 1", "flush"]


def test_a_long_call_in_steps_is_flushed_in_between_and_nobody_overtakes_it(
    hub: HubThread, writes: _Writes, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE_S", -1.0)  # time is up after each step
    with busy(hub.bridge):
        long = callers.submit(hub.bridge.begin_in_steps(lambda: _steps(writes, 2)), SOON_S)
        _waits(hub.bridge, 1)
        after = callers.submit(hub.bridge.call, SOON_S, writes.seen.append, "after")
        _waits(hub.bridge, 2)
    assert (long.result(SOON_S), after.result(SOON_S)) == ("done", None)
    ran = "begin step 0 flush begin step 1 flush begin flush begin after flush"  # the third: to its end
    assert " ".join(writes.seen).endswith(ran)


def test_a_call_in_steps_that_has_begun_when_the_bridge_closes_is_finished(
    hub: HubThread, writes: _Writes, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE_S", -1.0)

    def steps() -> Generator[None, None, str]:
        yield
        hub.bridge.close()
        yield
        return "done"

    assert callers.submit(hub.bridge.begin_in_steps(steps), SOON_S).result(SOON_S) == "done"
    with pytest.raises(BridgeFull):
        hub.bridge.call(SOON_S, int)


def test_a_run_ends_when_enough_is_gathered_also_within_a_call_in_steps(hub: HubThread, writes: _Writes) -> None:
    def steps() -> Generator[None, None, str]:
        for number in range(4):
            writes.seen.append(f"step {number}")
            writes.full = number % 2 == 1
            yield
        return "done"

    assert hub.bridge.begin_in_steps(steps)(SOON_S) == "done"
    assert writes.seen == ["begin", "step 0", "step 1", "flush", "begin", "step 2", "step 3", "flush", "begin", "flush"]
