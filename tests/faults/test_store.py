"""The store restarts, empty or not, or answers nothing for longer than a lease: sessions stay, and are found again."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import requests

from tests.faults.conftest import LEASE_S
from tests.parts.faults import emptied, killed, stopped
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.redis import RedisServer
from tests.parts.views import fate, left_in_store, nodes, online

pytestmark = pytest.mark.services

_COUNT = 10
_BACK_S = 10.0


@pytest.fixture
def listeners(fleet: Fleet) -> Iterator[list[Listener]]:
    sessions = [
        Listener(f"s{number}", rooms=["live://1"]).connect(fleet.nodes[number % 2].url) for number in range(_COUNT)
    ]
    yield sessions
    for session in sessions:
        session.leave()


def _push_when_possible(fleet: Fleet, timeout_s: float = _BACK_S, **target: object) -> str:
    """Push as soon as REST takes it again, and give the push_id."""
    taken: list[requests.Response] = []

    def accepted() -> bool:
        taken.append(fleet.push({"msg": 1, **target}))
        return taken[-1].status_code == 202

    until(accepted, timeout_s, "202 again")
    return str(taken[-1].json()["push_id"])


def _processes(fleet: Fleet) -> list[int]:
    return [child.pid for child in (fleet.web, fleet.worker, *(node.process for node in fleet.nodes))]


@pytest.mark.parametrize("fault", [emptied, stopped, killed], ids=["emptied", "stopped", "killed"])
def test_pushes_flow_again_after_a_store_that_is(
    fleet: Fleet,
    store: RedisServer,
    listeners: list[Listener],
    fault: Callable[[RedisServer], AbstractContextManager[None]],
    request: pytest.FixtureRequest,
) -> None:
    pids, offline = _processes(fleet), fate(fleet, "offline")
    with Load(fleet, [one.key for one in listeners], per_second=100) as load:
        load.until_more(100)
        with fault(store):
            pass
        # From here on: also what is accepted while the store is new and nodes have not registered yet.
        load.until_more(300)
    room_push = _push_when_possible(fleet, rooms=["live://1"])
    for listener in listeners:
        listener.wait_for([room_push], 20)
    account = settle(load, listeners, 20)
    print(f"store {request.node.callspec.id}: {account}, offline {fate(fleet, 'offline') - offline}")
    assert account.lost == 0
    assert {answer.status for answer in load.refused} <= {503}
    assert fate(fleet, "offline") == offline
    assert pids == _processes(fleet)
    for listener in listeners:
        assert online(fleet, listener.key) == 1
        assert len(listener.readies) == 1, "its session lived through it"


def test_the_first_push_after_a_wipe_is_delivered_not_offline(
    fleet: Fleet, store: RedisServer, listeners: list[Listener]
) -> None:
    old, offline = {node.node_id for node in fleet.nodes}, fate(fleet, "offline")
    store.wipe()
    answers = [fleet.push({"keys": [listener.key], "msg": 1}) for listener in listeners]
    assert [answer.status_code for answer in answers] == [202] * _COUNT
    began = time.monotonic()
    for listener, answer in zip(listeners, answers, strict=True):
        listener.wait_for([answer.json()["push_id"]], 20)
    took_s = time.monotonic() - began
    print(f"{_COUNT} pushes accepted right after a wipe, all delivered within {took_s:.1f} s, "
          f"offline {fate(fleet, 'offline') - offline}")  # fmt: skip
    assert fate(fleet, "offline") == offline
    assert old.isdisjoint({node.node_id for node in fleet.nodes})


def test_a_store_that_is_frozen_for_longer_than_a_lease(
    fleet: Fleet, store: RedisServer, listeners: list[Listener]
) -> None:
    old, offline = {node.node_id for node in fleet.nodes}, fate(fleet, "offline")
    store.freeze()
    try:
        until(lambda: fleet.push({"keys": ["s0"], "msg": 1}).status_code == 503, 5, "a refusal")
        began = time.monotonic()
        refused = fleet.push({"keys": ["s0"], "msg": 1})
        refused_s = time.monotonic() - began
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert refused_s < 2

        began = time.monotonic()
        direct = fleet.push({"keys": ["s1"], "msg": 1, "server": fleet.nodes[1].grpc})
        assert direct.status_code == 202, direct.text
        listeners[1].wait_for([direct.json()["push_id"]], 5)
        direct_s = time.monotonic() - began

        answer = listeners[0].call("join", "live://frozen")
        assert answer["error"]["code"] == "store_unavailable"

        lapsed = lambda: all(not _leased(node.url) for node in fleet.nodes)  # noqa: E731
        until(lapsed, LEASE_S + 3, "both nodes say that their lease is over")
    finally:
        store.thaw()
    first = [(one, _push_when_possible(fleet, keys=[one.key])) for one in listeners]
    for listener, push_id in first:
        listener.wait_for([push_id], 20)
    until(lambda: len(nodes(fleet)) == 2 and old.isdisjoint(_names(fleet)), 5, "both nodes under new names")
    assert online(fleet, "room:live://frozen") == 0, "a refused join left something behind"
    assert all(online(fleet, listener.key) == 1 for listener in listeners)
    until(lambda: not [name for node in old for name in left_in_store(fleet, node)], 9, "the old incarnations swept")
    print(f"refused in {refused_s:.2f} s; to a server by name in {direct_s:.2f} s; "
          f"first {len(first)} pushes after the thaw arrived, offline {fate(fleet, 'offline') - offline}")  # fmt: skip
    assert fate(fleet, "offline") == offline


def test_in_a_settled_store_a_push_to_nobody_ends_as_offline(fleet: Fleet, store: RedisServer) -> None:
    offline = fate(fleet, "offline")
    store.wipe()
    young_push = fleet.push({"keys": ["nobody-young"], "msg": 1})
    assert young_push.status_code == 202
    assert fate(fleet, "offline") == offline, "believed before the nodes could say otherwise"
    until(lambda: fate(fleet, "offline") == offline + 1, 20, "offline once settled")
    _push_when_possible(fleet, keys=["nobody-old"])
    until(lambda: fate(fleet, "offline") == offline + 2, 2, "offline at once")


def _leased(url: str) -> bool:
    return bool(requests.get(f"{url}/health/ready", timeout=5).json()["checks"]["lease"])


def _names(fleet: Fleet) -> set[str]:
    return {str(node["node"]) for node in nodes(fleet).values()}
