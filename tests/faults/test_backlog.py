"""Load comes and nobody does it: queues stay bounded, callers are told when to come back, what was accepted arrives.

Bounds are small here, so that seconds do what takes minutes in production.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from proto.queues import Priority
from tests.faults.conftest import QUICK
from tests.parts.faults import frozen, stopped
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.parts.views import metric, waiting

pytestmark = pytest.mark.services

_BOUNDS = {Priority.HIGH: 300, Priority.NORMAL: 120, Priority.BULK: 40}
_MAX_AGE_S = 6.0
_PER_SECOND = 200
_FULL_S = 30.0
_SEEN_S = 20.0
_ALL_S = 30.0


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    depths = {f"CLOUDPUSH_MAX_DEPTH_{priority.name}": str(bound) for priority, bound in _BOUNDS.items()}
    return {
        **QUICK,
        **depths,
        "CLOUDPUSH_BACKLOG_WATCH_S": "0.1",
        # A node that is deaf for the time of a test stays in the registry; nothing that waits is over meanwhile.
        "CLOUDPUSH_LEASE_TTL_S": "30",
        "CLOUDPUSH_DEFAULT_TTL_S": "600",
        "CLOUDPUSH_MAX_AGE_BULK_S": str(_MAX_AGE_S),
    }


@pytest.fixture
def listeners(fleet: Fleet) -> Iterator[list[Listener]]:
    until(lambda: metric(fleet.url, "cloudpush_queue_depths_seen") == 1, _SEEN_S, "the queues seen")
    sessions = [Listener(f"l{number}").connect(fleet.nodes[number % 2].url) for number in range(4)]
    yield sessions
    for session in sessions:
        session.leave()


def _load(fleet: Fleet, listeners: list[Listener], priority: str, per_second: float = _PER_SECOND) -> Load:
    keys = [one.key for one in listeners]
    return Load(fleet, keys, per_second=per_second, threads=2, extra={"priority": priority})


def _until_refused(load: Load, count: int = 1) -> None:
    goal = len(load.refused) + count
    until(lambda: len(load.refused) >= goal, _FULL_S, f"{count} refusals")


def _try(fleet: Fleet, priority: str) -> requests.Response:
    return fleet.push({"keys": ["l0"], "msg": 0, "priority": priority})


def _statuses(load: Load) -> set[int]:
    return {answer.status for answer in load.refused}


def _accepts(fleet: Fleet, priority: str) -> bool:
    return _try(fleet, priority).status_code == 202


def test_with_workers_stopped_each_priority_is_refused_in_its_turn_and_nothing_accepted_is_lost(
    fleet: Fleet, listeners: list[Listener]
) -> None:
    bounded: dict[str, int] = {}
    loads: list[Load] = []
    with stopped(fleet.worker):
        for priority in ("bulk", "normal", "high"):
            with _load(fleet, listeners, priority) as load:
                _until_refused(load)
                bounded[priority] = waiting(fleet, [priority])
                _until_refused(load, 100)
            assert waiting(fleet, [priority]) - bounded[priority] <= 2, "what was under way when the queue was full"
            assert _statuses(load) == {503 if priority == "high" else 429}
            assert all(answer.retry_after and int(answer.retry_after) >= 1 for answer in load.refused)
            assert metric(fleet.url, "cloudpush_queue_full", queue=priority) == 1
            loads.append(load)
        assert {_try(fleet, priority).status_code for priority in ("bulk", "normal")} == {429}
    fleet.wait_ready()
    for priority in ("bulk", "normal", "high"):
        until(lambda priority=priority: _accepts(fleet, priority), _ALL_S, f"room for {priority}")  # type: ignore[misc]
    accounts = [settle(load, listeners, _ALL_S) for load in loads]
    print(f"workers stopped: depths when full {bounded}; " + "; ".join(map(str, accounts)))
    assert [(account.lost, account.duplicates) for account in accounts] == [(0, 0)] * 3


def test_urgent_pushes_are_taken_while_a_flood_of_bulk_is_held_back(fleet: Fleet, listeners: list[Listener]) -> None:
    with frozen(fleet.worker), _load(fleet, listeners, "bulk") as flood:
        _until_refused(flood)
        with _load(fleet, listeners, "high", per_second=20) as urgent:
            urgent.until_more(40)
            _until_refused(flood, 20)
    accounts = settle(urgent, listeners, _ALL_S), settle(flood, listeners, _ALL_S)
    print(f"high beside a flood of bulk: {accounts[0]}; bulk: {accounts[1]}")
    assert not urgent.refused
    assert _statuses(flood) == {429}
    assert [(account.lost, account.duplicates) for account in accounts] == [(0, 0)] * 2


def test_a_short_queue_that_nobody_takes_from_is_refused_by_its_age(fleet: Fleet, listeners: list[Listener]) -> None:
    def shown(name: str, queue: str = "bulk") -> float:
        return metric(fleet.url, f"cloudpush_queue_{name}", queue=queue)

    ids = [_push_id(_try(fleet, "bulk"))]
    listeners[0].wait_for(ids, _SEEN_S)
    until(lambda: shown("age_seconds") == 0, _SEEN_S, "an empty queue seen")
    with stopped(fleet.worker):
        ids += [_push_id(_try(fleet, "bulk")) for _ in range(3)]
        until(lambda: shown("full") == 1, _SEEN_S, "the queue full")
        assert shown("age_seconds") > _MAX_AGE_S
        assert (shown("depth"), shown("full", "normal")) == (3, 0)
        refused = _try(fleet, "bulk")
        assert (refused.status_code, int(refused.headers["Retry-After"]) >= 1) == (429, True)
        ids.append(_push_id(_try(fleet, "normal")))
    until(lambda: _accepts(fleet, "bulk"), _ALL_S, "room again")
    listeners[0].wait_for(ids, _ALL_S)


def _push_id(response: requests.Response) -> str:
    assert response.status_code == 202, response.text
    return str(response.json()["push_id"])


def test_a_restart_of_rabbitmq_under_full_queues_ends_with_everything_accepted_delivered(
    fleet: Fleet, broker: RabbitMQ, listeners: list[Listener]
) -> None:
    with stopped(fleet.worker), _load(fleet, listeners, "normal") as load:
        _until_refused(load)
        with stopped(broker):
            until(lambda: metric(fleet.url, "cloudpush_queue_depths_seen") == 0, _SEEN_S, "the queues unseen")
            until(lambda: 503 in _statuses(load), _SEEN_S, "a refusal for the broker that is away")
        until(lambda: metric(fleet.url, "cloudpush_queue_full", queue="normal") == 1, _ALL_S, "full again")
        _until_refused(load, 20)
        load.stop()
        assert load.refused[-1].status == 429
    fleet.wait_ready()
    account = settle(load, listeners, _ALL_S)
    print(f"rabbitmq restarted under a full queue: {account}")
    assert _statuses(load) == {429, 503}
    assert all(answer.retry_after for answer in load.refused)
    assert (account.lost, account.duplicates) == (0, 0)
    until(lambda: _accepts(fleet, "normal"), _ALL_S, "room again")


def test_with_redis_away_ages_are_unseen_and_depths_still_refuse(
    fleet: Fleet, store: RedisServer, listeners: list[Listener]
) -> None:
    node = fleet.nodes[0].grpc
    with ExitStack() as faults:
        faults.enter_context(frozen(fleet.worker))
        store.freeze()
        faults.callback(store.thaw)
        until(lambda: metric(fleet.url, "cloudpush_queue_ages_seen") == 0, _SEEN_S, "the ages unseen")
        until(lambda: not _accepts(fleet, "bulk"), _SEEN_S, "a refusal where keys have to be looked up")
        by_server = {"keys": ["l0"], "msg": 0, "priority": "bulk", "server": node}
        accepted = _push_until_refused(fleet, by_server)
    assert accepted, "a store that is away refuses no push to a named server"
    until(lambda: metric(fleet.url, "cloudpush_queue_ages_seen") == 1, _SEEN_S, "the ages seen again")
    listeners[0].wait_for(accepted, _ALL_S)
    until(lambda: _accepts(fleet, "bulk"), _ALL_S, "room again")


def _push_until_refused(fleet: Fleet, body: Mapping[str, Any]) -> list[str]:
    accepted: list[str] = []
    lock, full = threading.Lock(), threading.Event()

    def push() -> None:
        with requests.Session() as caller:
            for _ in range(1000):
                response = caller.post(f"{fleet.url}/v1/pushes", json=body, timeout=10)
                if response.status_code != 202:
                    assert response.status_code == 429, response.text
                    full.set()
                if full.is_set():
                    return
                with lock:
                    accepted.append(response.json()["push_id"])

    callers = [threading.Thread(target=push) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(_FULL_S)
    assert full.is_set()
    return accepted
