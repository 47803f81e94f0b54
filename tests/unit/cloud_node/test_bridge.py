"""The bridge: real native threads on one side, a real eventlet hub on a native thread of its own on the other."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_node import bridge as module
from cloud_node.bridge import Bridge, BridgeFull
from tests.parts.hub_thread import SOON_S, Gate, HubThread
from tests.parts.process import until


@pytest.fixture
def hub() -> Iterator[HubThread]:
    hub = HubThread(Bridge(capacity=4))
    yield hub
    hub.end()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def _waits(bridge: Bridge, calls: int) -> None:
    until(lambda: len(bridge) == calls, SOON_S, f"{calls} calls that wait")


def test_a_call_runs_on_the_hubs_thread_and_its_result_comes_back(hub: HubThread) -> None:
    def run(number: int, *, more: int) -> tuple[int, str]:
        return number + more, threading.current_thread().name

    assert hub.bridge.call(SOON_S, run, 1, more=2) == (3, "hub")


@pytest.mark.parametrize("error", [ValueError("mine"), TimeoutError("mine"), BridgeFull("mine")], ids=repr)
def test_what_a_call_raises_comes_back_and_the_hub_goes_on(hub: HubThread, error: Exception) -> None:
    def run() -> None:
        raise error

    with pytest.raises(type(error), match="mine"):
        hub.bridge.call(SOON_S, run)
    assert hub.bridge.call(SOON_S, lambda: "on") == "on"


def test_calls_run_in_the_order_in_which_they_came(hub: HubThread, callers: ThreadPoolExecutor) -> None:
    gate, ran = Gate(hub.bridge), list[int]()
    for number in range(3):
        callers.submit(hub.bridge.call, SOON_S, ran.append, number)
        _waits(hub.bridge, number + 1)
    gate.opened.set()
    hub.bridge.call(SOON_S, lambda: None)
    assert ran == [0, 1, 2]


def test_a_call_that_did_not_begin_in_time_never_runs(hub: HubThread) -> None:
    gate, ran = Gate(hub.bridge), list[str]()
    with pytest.raises(TimeoutError):
        hub.bridge.call(0.01, ran.append, "late")
    gate.opened.set()
    hub.bridge.call(SOON_S, ran.append, "next")
    assert ran == ["next"]


def test_a_call_that_has_begun_is_waited_for(hub: HubThread, callers: ThreadPoolExecutor) -> None:
    began, go_on = threading.Event(), threading.Event()

    def run() -> str:
        began.set()
        assert go_on.wait(SOON_S)
        return "done"

    calling = callers.submit(hub.bridge.call, 0.05, run)
    assert began.wait(SOON_S)
    with pytest.raises(TimeoutError):
        calling.result(0.1)  # its own deadline is over by now
    go_on.set()
    assert calling.result(SOON_S) == "done"


def test_under_a_storm_of_deadlines_a_call_either_ran_or_timed_out_never_both_never_neither() -> None:
    hub = HubThread(Bridge(capacity=10_000))
    ran: set[tuple[int, int]] = set()

    def storm(seed: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        chance = random.Random(seed)
        returned, late = set(), set()
        for number in range(200):
            it = (seed, number)
            try:
                hub.bridge.call(chance.choice([0, 0.00005, 0.0002, 1]), ran.add, it)
            except TimeoutError:
                late.add(it)
            else:
                returned.add(it)
        return returned, late

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(storm, range(8)))
    hub.end()
    returned, late = (set().union(*parts) for parts in zip(*results, strict=True))
    assert ran == returned
    assert len(returned) + len(late) == 8 * 200
    assert returned, "the storm was all lightning"
    assert late, "nobody was ever late: make the deadlines shorter"


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(
    hub: HubThread, callers: ThreadPoolExecutor
) -> None:
    gate = Gate(hub.bridge)
    waiting = [callers.submit(hub.bridge.call, SOON_S, int, number) for number in range(4)]
    _waits(hub.bridge, 4)
    with pytest.raises(BridgeFull, match="4 calls wait for the hub"):
        hub.bridge.call(60, int)
    hub.bridge.post(int)  # the node's own threads are few: they are never refused
    gate.opened.set()
    assert [call.result(SOON_S) for call in waiting] == [0, 1, 2, 3]
    assert hub.bridge.call(SOON_S, int, "5") == 5


def test_what_the_hub_has_not_begun_counts_as_waiting(hub: HubThread, callers: ThreadPoolExecutor) -> None:
    first = Gate(hub.bridge)
    second_open = threading.Event()
    calls = [callers.submit(hub.bridge.call, SOON_S, second_open.wait, SOON_S) for _ in range(4)]
    _waits(hub.bridge, 4)
    first.opened.set()
    _waits(hub.bridge, 3)  # the hub is in the first of the four
    second_open.set()
    assert all(call.result(SOON_S) for call in calls)


def test_close_fails_what_waits_and_whatever_comes(hub: HubThread, callers: ThreadPoolExecutor) -> None:
    gate, ran = Gate(hub.bridge), list[str]()
    waiting = callers.submit(hub.bridge.call, 60, ran.append, "waits")
    _waits(hub.bridge, 1)
    hub.bridge.close()
    with pytest.raises(BridgeFull, match="the node is stopping"):
        waiting.result(SOON_S)
    with pytest.raises(BridgeFull):
        hub.bridge.call(60, ran.append, "comes")
    hub.bridge.post(lambda: ran.append("posted too late"))
    gate.opened.set()
    assert ran == []


def test_close_fails_also_what_waits_behind_a_call_that_made_the_hub_pause(
    hub: HubThread, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE_S", -1.0)  # the hub serves its sockets after each call
    gate = Gate(hub.bridge)
    stopping = callers.submit(hub.bridge.call, SOON_S, hub.stop)
    _waits(hub.bridge, 1)
    behind = callers.submit(hub.bridge.call, 10, int)
    _waits(hub.bridge, 2)
    gate.opened.set()
    stopping.result(SOON_S)
    with pytest.raises(BridgeFull, match="the node is stopping"):
        behind.result(SOON_S)
