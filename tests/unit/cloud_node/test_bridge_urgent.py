"""Urgent calls go first, and the others get on all the same.  A real eventlet hub on a thread of its own."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_node import bridge as module
from cloud_node.bridge import Bridge, BridgeFull
from tests.parts.hub_thread import SOON_S, HubThread, busy
from tests.parts.process import until


class _Writes:
    """Notes flushes among the steps."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.full = False

    def begin(self) -> None:
        return

    def flush(self) -> None:
        self.seen.append("flush")


@pytest.fixture
def writes() -> _Writes:
    return _Writes()


@pytest.fixture
def hub(writes: _Writes) -> Iterator[HubThread]:
    hub = HubThread(Bridge(4, writes))
    yield hub
    hub.end()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def _steps(seen: list[str], name: str, number: int = 1) -> Callable[[], Generator[None, None, str]]:
    def run() -> Generator[None, None, str]:
        for step in range(number):
            seen.append(f"{name}{step}")
            yield
        return name

    return run


def test_urgent_calls_go_first_in_a_run_and_a_flush_of_their_own(hub: HubThread, writes: _Writes) -> None:
    bridge, seen = hub.bridge, writes.seen
    with busy(bridge):
        waits = [bridge.begin_in_steps(_steps(seen, name)) for name in "ab"]
        waits += [bridge.begin_in_steps(_steps(seen, name), urgent=True) for name in "xy"]
        assert len(bridge) == 4
    assert [wait(SOON_S) for wait in waits] == ["a", "b", "x", "y"]
    assert seen[-6:] == ["x0", "y0", "flush", "a0", "b0", "flush"]


def test_a_long_call_gives_way_at_its_next_step_and_is_finished_afterwards(hub: HubThread, writes: _Writes) -> None:
    bridge, seen = hub.bridge, writes.seen
    urgent: list[Callable[[float], str]] = []

    def long() -> Generator[None, None, str]:
        for step in range(3):
            seen.append(f"long{step}")
            if step == 1:
                urgent.append(bridge.begin_in_steps(_steps(seen, "urgent"), urgent=True))
            yield
        return "long"

    assert bridge.begin_in_steps(long)(SOON_S) == "long"
    assert urgent[0](SOON_S) == "urgent"
    assert seen == ["long0", "long1", "flush", "urgent0", "flush", "long2", "flush"]


def test_a_flood_of_urgent_calls_leaves_the_others_a_step_at_a_time(
    hub: HubThread, writes: _Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE_S", -1.0)  # time is up after each step
    bridge, seen = hub.bridge, writes.seen
    with busy(bridge):
        other = bridge.begin_in_steps(_steps(seen, "other", 3))
        flood = bridge.begin_in_steps(_steps(seen, "urgent", 20), urgent=True)
    assert (other(SOON_S), flood(SOON_S)) == ("other", "urgent")
    steps = [step for step in seen if step != "flush"]
    assert steps.index("other2") < steps.index("urgent8")


def test_urgent_calls_have_a_bound_of_their_own(hub: HubThread, callers: ThreadPoolExecutor) -> None:
    bridge = hub.bridge
    with busy(bridge):
        others = [callers.submit(bridge.call, SOON_S, int, number) for number in range(4)]
        until(lambda: len(bridge) == 4, SOON_S, "four calls that wait")
        with pytest.raises(BridgeFull):
            bridge.begin_in_steps(_steps([], "other"))
        urgent = [bridge.begin_in_steps(_steps([], f"{number}"), urgent=True) for number in range(4)]
        with pytest.raises(BridgeFull, match="4 calls wait"):
            bridge.begin_in_steps(_steps([], "urgent"), urgent=True)
    assert [call.result(SOON_S) for call in others] == [0, 1, 2, 3]
    assert [wait(SOON_S) for wait in urgent] == ["0", "1", "2", "3"]


def test_close_fails_urgent_calls_that_wait(hub: HubThread) -> None:
    with busy(hub.bridge):
        wait = hub.bridge.begin_in_steps(_steps([], "urgent"), urgent=True)
        hub.bridge.close()
    with pytest.raises(BridgeFull, match="the node is stopping"):
        wait(SOON_S)
