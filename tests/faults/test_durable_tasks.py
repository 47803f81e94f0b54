"""Durable messages when tasks are late, reordered, doubled or expired, and when the inbox lost what a session lacks."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import amqp
import pytest
import requests

from proto.queues import EXCHANGE, Priority
from tests.faults.conftest import QUICK
from tests.parts.faults import emptied, killed, stopped
from tests.parts.grpc_proxy import Weather
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.reader import Reader
from tests.parts.redis import RedisServer
from tests.parts.views import channel_to, fate, nodes, waiting
from tests.soak.stand import GuardedFleet

pytestmark = pytest.mark.services

_MOST = 40
_BACK_S = 20.0
_CALL_S = 5.0
_CLOCK_SEEN_S = 2.0  # until each part of a process has noticed the jump


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("store"), fsync="always")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def fleet(broker: RabbitMQ, store: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedFleet]:
    url = broker.add_vhost("durable_tasks")
    settings = {**QUICK, "CLOUDPUSH_INBOX_MAX_MESSAGES": f"{_MOST}"}
    own = GuardedFleet(tmp_path_factory.mktemp("durable-tasks"), url, store.url, settings=settings)
    try:
        own.start()
        yield own
    finally:
        own.kill()


def _push(fleet: GuardedFleet, key: str, *msgs: Any, **more: Any) -> str:
    """Push each durably, one after the other; as soon as REST takes it, where the store was just down."""
    push_id = ""
    for msg in msgs:
        body = {"keys": [key], "msg": msg, "durable": True, "request_id": uuid.uuid4().hex, **more}
        push_id = _accepted(fleet, body)
    return push_id


def _accepted(fleet: GuardedFleet, body: Mapping[str, Any]) -> str:
    answers: list[requests.Response] = []

    def accepted() -> bool:
        answers.append(fleet.push(body))
        assert answers[-1].status_code in (202, 503), answers[-1].text
        return answers[-1].status_code == 202

    until(accepted, _BACK_S, "202")
    return str(answers[-1].json()["push_id"])


def _offsets(reader: Reader) -> list[int]:
    return [push["offset"] for push in reader.pushes]


def test_tasks_that_come_late_and_reordered_are_handed_over_in_the_order_of_their_202(fleet: GuardedFleet) -> None:
    proxy = fleet.proxies["node-0"]
    delayed = proxy.met["delayed"]
    with Reader(fleet.nodes[0], "late") as reader, proxy.weather(Weather(delay=1.0)):
        _push(fleet, "late", *range(15))
        reader.wait_for(range(15))
    delayed = proxy.met["delayed"] - delayed
    print(f"15 pushes, {delayed} calls late by up to 1.5 s each, handed over as {reader.msgs}")
    assert _offsets(reader) == list(range(1, 16))
    assert delayed > 5, "hardly any call was late: the test would prove nothing"


def test_the_same_task_again_and_again_is_handed_over_once(fleet: GuardedFleet) -> None:
    with Reader(fleet.nodes[0], "twice") as reader:
        with stopped(fleet.worker):
            _push(fleet, "twice", 1)
            with channel_to(fleet.broker_url) as channel:
                until(lambda: waiting(fleet) >= 1, _CALL_S, "the task on its queue")
                task = channel.basic_get(Priority.NORMAL.queue)
                for _ in range(3):
                    copy = amqp.Message(task.body, **task.properties)
                    channel.basic_publish(copy, exchange=EXCHANGE, routing_key=Priority.NORMAL.queue)
                channel.basic_ack(task.delivery_tag)
        fleet.wait_ready()
        reader.wait_for([1])
        _push(fleet, "twice", 2)
        reader.wait_for([1, 2])
        until(lambda: waiting(fleet) == 0, _CALL_S, "all tasks taken")
    print(f"a task three times on its queue: the session got {reader.msgs}")


def test_the_task_for_an_expired_push_hands_nothing_over(fleet: GuardedFleet) -> None:
    with stopped(fleet.worker):
        push_id = _push(fleet, "expired", "old", ttl_s=1)
        until(lambda: _receipt(fleet, push_id)["state"] == "expired", _CALL_S, "the push to expire")
        reader = Reader(fleet.nodes[0], "expired")
    with reader:
        fleet.wait_ready()
        until(lambda: waiting(fleet) == 0, _BACK_S, "its task taken")
        _push(fleet, "expired", "new")
        reader.wait_for(["new"])
    print(f"expired push: {_receipt(fleet, push_id)['keys']}; fates expired {fate(fleet, 'expired')}")
    assert _receipt(fleet, push_id)["state"] == "expired"
    assert _offsets(reader) == [2]


def test_a_session_whose_cursor_the_inbox_no_longer_reaches_is_told_when_it_comes_back(fleet: GuardedFleet) -> None:
    with Reader(fleet.nodes[0], "trimmed") as reader:
        _push(fleet, "trimmed", *range(1, 6))
        reader.wait_for(range(1, 6))
    last = 5 + _MOST + 10
    _push(fleet, "trimmed", *range(6, last + 1))
    with Reader(fleet.nodes[1], "trimmed", resume=reader.cursors) as back:
        back.wait_for(range(last - _MOST + 1, last + 1))
    print(f"cursor 5 of {last}, {_MOST} kept: recovered {back.recovered}, goes on after {back.readies[0]['cursors']}")
    assert back.recovered is False
    assert back.readies[0]["cursors"]["trimmed"]["offset"] == last - _MOST
    assert not back.gaps, "told twice"


def test_a_session_that_is_there_while_the_inbox_is_trimmed_past_it_is_told(fleet: GuardedFleet) -> None:
    last = 3 * _MOST
    with Reader(fleet.nodes[0], "passed") as reader:
        _push(fleet, "passed", 1)
        reader.wait_for([1])
        with fleet.worker_gates["node-0"].cut(), fleet.store_gates["node-0"].cut():
            _push(fleet, "passed", *range(2, last + 1))
        until(lambda: bool(reader.msgs) and reader.msgs[-1] == last, _BACK_S, "the last message")
    print(f"{last} messages while a node was cut off, {_MOST} kept: got {len(reader.msgs)}, told {reader.gaps}")
    assert [gap["reason"] for gap in reader.gaps] == ["trimmed"]
    after = reader.gaps[0]["offset"]
    before = [offset for offset in _offsets(reader) if offset <= after]
    assert _offsets(reader) == before + list(range(after + 1, last + 1)), "what follows the gap is not complete"
    assert before == list(range(1, len(before) + 1))
    assert after <= last - _MOST


def test_an_emptied_store_means_another_epoch_and_every_session_is_told(
    fleet: GuardedFleet, store: RedisServer
) -> None:
    with Reader(fleet.nodes[0], "emptied") as reader, Reader(fleet.nodes[1], "emptied") as leaver:
        _push(fleet, "emptied", 1, 2)
        reader.wait_for([1, 2])
        leaver.wait_for([1, 2])
        leaver.leave()
        with emptied(store):
            pass
        _push(fleet, "emptied", 3)
        reader.wait_for([1, 2, 3], _BACK_S)
        with Reader(fleet.nodes[1], "emptied", resume=leaver.cursors) as back:
            back.wait_for([3])
    print(f"store emptied: a session that was there was told {reader.gaps}, one that came back {back.recovered}")
    assert [gap["reason"] for gap in reader.gaps] == ["epoch"]
    assert back.recovered is False
    assert reader.pushes[-1]["epoch"] not in {push["epoch"] for push in reader.pushes[:2]}


def test_wiping_the_store_while_it_runs_is_noticed_too(fleet: GuardedFleet, store: RedisServer) -> None:
    with Reader(fleet.nodes[0], "wiped") as reader:
        _push(fleet, "wiped", 1, 2)
        reader.wait_for([1, 2])
        store.wipe()
        _push(fleet, "wiped", 3)
        reader.wait_for([1, 2, 3], _BACK_S)
    print(f"FLUSHALL: told {reader.gaps}")
    assert [gap["reason"] for gap in reader.gaps] == ["epoch"]


def test_a_store_killed_with_its_log_synced_loses_nothing_and_nobody_is_told_so(
    fleet: GuardedFleet, store: RedisServer
) -> None:
    with Reader(fleet.nodes[0], "restart") as reader, Reader(fleet.nodes[1], "restart") as leaver:
        _push(fleet, "restart", 1)
        leaver.wait_for([1])
        leaver.leave()
        _push(fleet, "restart", 2, 3)
        reader.wait_for([1, 2, 3])
        with killed(store):
            pass
        _push(fleet, "restart", 4)
        reader.wait_for([1, 2, 3, 4], _BACK_S)
        with Reader(fleet.nodes[1], "restart", resume=leaver.cursors) as back:
            back.wait_for([2, 3, 4])
    print(f"store killed: offsets {_offsets(reader)}, told {reader.gaps}, recovered {back.recovered}")
    assert not reader.gaps
    assert not back.gaps
    assert back.recovered is True


def test_a_store_that_lost_its_last_writes_tells_those_who_had_them_and_nobody_else(
    fleet: GuardedFleet, store: RedisServer
) -> None:
    with Reader(fleet.nodes[0], "lossy") as reader, Reader(fleet.nodes[1], "lossy") as leaver:
        _push(fleet, "lossy", 1)
        leaver.wait_for([1])
        leaver.leave()
        synced = store.log_bytes
        _push(fleet, "lossy", 2)
        reader.wait_for([1, 2])
        store.kill()
        store.forget_after(synced)
        store.start()
        _push(fleet, "lossy", 3)
        reader.wait_for([1, 2, 3], _BACK_S)
        with Reader(fleet.nodes[1], "lossy", resume=leaver.cursors) as back:
            back.wait_for([3])
    print(f"a lost write: offsets {_offsets(reader)}, told {reader.gaps}; one that never had it: {back.recovered}")
    assert [gap["reason"] for gap in reader.gaps] == ["epoch"]
    assert reader.pushes[1]["epoch"] != reader.pushes[2]["epoch"]
    assert back.recovered is True, "it lacks nothing that the store ever told of"
    assert not back.gaps


def test_a_node_whose_clock_is_an_hour_behind_is_still_proven_to_deliver(fleet: GuardedFleet) -> None:
    address = f"127.0.0.1:{fleet.worker_gates['node-0'].port}"
    fleet.clock("node-0").write_text("-3600", encoding="ascii")
    jumped = time.monotonic()

    def proven() -> bool:
        age_ms = nodes(fleet)[address]["probe_age_ms"]
        return bool(age_ms < (time.monotonic() - jumped - _CLOCK_SEEN_S) * 1000)

    try:
        until(proven, _BACK_S, "a probe that was sent after the jump, and came back")
    finally:
        fleet.clock("node-0").write_text("0", encoding="ascii")


def test_two_tabs_with_one_key_each_get_all_once_and_each_goes_on_from_its_own_cursor(fleet: GuardedFleet) -> None:
    with Reader(fleet.nodes[0], "tabs") as first, Reader(fleet.nodes[1], "tabs") as second:
        _push(fleet, "tabs", 1, 2)
        for tab in (first, second):
            tab.wait_for([1, 2])
        second.leave()
        _push(fleet, "tabs", 3, 4)
        first.wait_for([1, 2, 3, 4])
        with Reader(fleet.nodes[0], "tabs", resume=second.cursors) as back:
            back.wait_for([3, 4])
            _push(fleet, "tabs", 5)
            back.wait_for([3, 4, 5])
        first.wait_for([1, 2, 3, 4, 5])
    assert back.recovered is True
    assert not first.gaps + back.gaps


def _receipt(fleet: GuardedFleet, push_id: str) -> dict[str, Any]:
    answer = requests.get(f"{fleet.url}/v1/pushes/{push_id}", timeout=_CALL_S)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
