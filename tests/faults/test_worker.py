"""A worker that dies or is asked to end in the middle of its work loses nothing, and no session gets anything twice."""

import signal
import time
from collections.abc import Iterator

import pytest
import requests

from tests.faults.conftest import QUICK
from tests.parts.faults import frozen, stopped
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.views import metric, ready, waiting

pytestmark = pytest.mark.services

_MANY = 300
_BOUNDED_S = 10.0
_STALL_S = 12.0  # a worker whose connection is torn comes back only after RabbitMQ's heartbeat, 20 s and more


@pytest.fixture
def listeners(fleet: Fleet) -> Iterator[list[Listener]]:
    sessions = [Listener(f"w{number}").connect(fleet.nodes[number % 2].url) for number in range(4)]
    yield sessions
    for session in sessions:
        session.leave()


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    # A node is frozen here for a while, and must not be given up for that.
    return {**QUICK, "CLOUDPUSH_LEASE_TTL_S": "20"}


def _delivered(url: str) -> float:
    return metric(url, "cloudpush_node_outcomes_total", outcome="delivered")


def test_a_worker_killed_between_its_calls_and_its_acks_loses_and_doubles_nothing(
    fleet: Fleet, listeners: list[Listener]
) -> None:
    node = fleet.nodes[0]
    twice_before = metric(node.url, "cloudpush_node_outcomes_total", outcome="duplicate")
    had = _delivered(node.url)
    with Load(fleet, [one.key for one in listeners], per_second=600, threads=6) as load:
        with frozen(node.process):
            load.until_more(_MANY)
            load.stop()
            # Soon, while calls wait for the node; the worker has taken some of the tasks, and the broker has the rest.
            fleet.worker.signal(signal.SIGSTOP)
        # The node does what the calls ask for; the worker will not hear of it.
        until(lambda: _delivered(node.url) > had, 5, "calls carried out that the worker does not hear of")
        fleet.worker.kill()
        unfinished = waiting(fleet)
        fleet.worker.start()
        fleet.wait_ready()
    account = settle(load, listeners, 30)
    twice = metric(node.url, "cloudpush_node_outcomes_total", outcome="duplicate") - twice_before
    print(
        f"worker killed with {unfinished} tasks unfinished: {account}; dropped by the node as duplicates: {twice:.0f}"
    )
    assert account.lost == 0
    assert account.duplicates == 0
    assert twice, "no task was in the middle of a call: the test would prove nothing"


def test_a_worker_killed_again_and_again_under_load_loses_nothing(fleet: Fleet, listeners: list[Listener]) -> None:
    with Load(fleet, [one.key for one in listeners], per_second=150) as load:
        for _ in range(3):
            load.until_more(100)
            fleet.worker.kill()
            load.until_more(50)
            fleet.worker.start()
            fleet.wait_ready()
    account = settle(load, listeners, 30)
    print(f"worker killed 3 times under load: {account}")
    assert (account.lost, account.duplicates, account.refused) == (0, 0, 0)


@pytest.mark.parametrize("node_frozen", [False, True], ids=["quiet", "calls-waiting"])
def test_a_worker_told_to_end_under_load_loses_nothing(
    fleet: Fleet, listeners: list[Listener], node_frozen: bool
) -> None:
    with Load(fleet, [one.key for one in listeners], per_second=200) as load:
        load.until_more(200)
        began = time.monotonic()
        if node_frozen:
            with frozen(fleet.nodes[0].process):
                load.until_more(100)
                began = time.monotonic()
                fleet.worker.terminate(_BOUNDED_S)
        else:
            fleet.worker.terminate(_BOUNDED_S)
        ended_s = time.monotonic() - began
        code = fleet.worker.returncode
        load.until_more(100)
        fleet.worker.start()
        fleet.wait_ready()
        load.until_more(100)
    account = settle(load, listeners, 30)
    print(f"worker told to end ({'calls waiting' if node_frozen else 'quiet'}): ended in {ended_s:.1f} s: {account}")
    assert code == 0
    assert (account.lost, account.duplicates, account.refused) == (0, 0, 0)


def test_a_backlog_is_done_without_a_stall_again_and_again(fleet: Fleet, listeners: list[Listener]) -> None:
    took: list[float] = []
    for _ in range(4):
        with stopped(fleet.worker), Load(fleet, [one.key for one in listeners], per_second=2000, threads=6) as load:
            load.until_more(800)
        fleet.wait_ready()
        account = settle(load, listeners, _STALL_S)
        took.append(account.took_s)
        assert (account.lost, account.duplicates) == (0, 0), f"{account}: the worker hangs"
    print(f"4 backlogs of 800 done in {', '.join(f'{one:.1f}' for one in took)} s")


def test_a_worker_drains_the_queues_of_a_broker_that_is_short_of_memory(
    fleet: Fleet, broker: RabbitMQ, listeners: list[Listener]
) -> None:
    with frozen(fleet.worker):
        with Load(fleet, [one.key for one in listeners], per_second=300) as load:
            load.until_more(200)
        broker.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.0000001).")
    try:
        until(lambda: fleet.push({"keys": ["w0"], "msg": 1}).status_code == 503, 10, "a refusal")
        account = settle(load, listeners, _STALL_S)
        ready_then = ready(fleet.worker_url)[0]
    finally:
        broker.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.4).")
    print(f"broker short of memory: {account}")
    assert (account.lost, account.duplicates) == (0, 0)
    assert ready_then == 200
    fleet.wait_ready()


def test_a_node_that_is_alive_but_deaf_says_so(fleet: Fleet) -> None:
    node = fleet.nodes[0]
    with stopped(fleet.worker):
        began = time.monotonic()
        until(lambda: ready(node.url)[0] == 503, 10, "a deaf node not ready")
        noticed_s = time.monotonic() - began
        status, body = ready(node.url)
        assert status == 503
        assert [check for check, holds in body["checks"].items() if not holds] == ["data_path"]
        assert requests.get(f"{node.url}/health/live", timeout=5).status_code == 200
        best = requests.get(f"{fleet.url}/v1/nodes", timeout=5).json()["nodes"]
        assert node.grpc in {one["grpc"] for one in best}, "it is listed, with the age of its probe"
    until(lambda: ready(node.url)[0] == 200, 15, "ready again")
    print(f"deafness noticed after {noticed_s:.1f} s, ready again {time.monotonic() - began:.1f} s after it began")
