"""Batches on a real broker and a real store: what is accepted is there, in order, whatever breaks in between."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.intake import State
from tests.parts import queued
from tests.parts.kept import Kept, open_kept
from tests.parts.mortal import RECOVERS_S, STEPS, Died, Web, lasting_broker, serving
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services

_TAKEOVER_S = 0.3


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ to kill."""
    with lasting_broker(tmp_path_factory.mktemp("batches")) as server:
        yield server


@pytest.fixture
def kept(redis: str) -> Iterator[Kept]:
    """An empty store."""
    opened = open_kept(redis, takeover_s=_TAKEOVER_S)
    opened.now_ms()
    yield opened
    opened.client.close()


@pytest.fixture
def web(broker: RabbitMQ, kept: Kept) -> Iterator[Web]:
    """A web tier; no task of an earlier test is left."""
    with serving(broker.url, kept) as served:
        queued.take(broker.url)
        yield served


def _push(n: int, **more: Any) -> dict[str, Any]:
    return {"keys": [f"key-{n}"], "msg": n, **more}


def _ids(answer: Any) -> list[str]:
    """The ids of a call of which all was accepted."""
    assert answer.status_code == 202, answer.json
    return [result["push_id"] for result in answer.json["results"]]


def _accepted(answer: Any) -> list[str]:
    """The ids of what was accepted of a call, if anything was."""
    if answer.status_code == 503:
        return []
    assert answer.status_code == 202, answer.json
    refused = [result["error"]["status"] for result in answer.json["results"] if "error" in result]
    assert set(refused) <= {503}
    return [result["push_id"] for result in answer.json["results"] if "push_id" in result]


def test_a_thousand_pushes_are_on_the_queue_each_once_under_the_id_of_its_result(web: Web, broker: RabbitMQ) -> None:
    ids = _ids(web.post_batch([_push(n) for n in range(1000)]))
    there = queued.take(broker.url)
    assert {payload["push_id"]: payload["body"] for payload in there} == {ids[n]: f"{n}" for n in range(1000)}
    assert len(there) == 1000


def test_the_order_of_a_batch_is_the_order_of_each_inbox(web: Web, broker: RabbitMQ) -> None:
    pushes = [{"keys": ["alice", f"mate-{n % 3}"], "msg": n, "durable": True} for n in range(900)]
    ids = _ids(web.post_batch(pushes))
    places = {payload["push_id"]: payload["places"] for payload in queued.take(broker.url)}
    messages = web.kept.inbox.read({"alice": 0}, 1000)["alice"].messages
    assert [one.push_id for one in messages] == ids
    assert [places[push_id]["alice"][1] for push_id in ids] == list(range(1, 901))
    mate = web.kept.inbox.read({"mate-1": 0}, 1000)["mate-1"].messages
    assert [one.push_id for one in mate] == ids[1::3]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_retry_of_a_batch_whose_process_died_at_a_step_is_the_same_pushes(
    web: Web, broker: RabbitMQ, step: str, after: bool
) -> None:
    pushes = [
        {"keys": ["alice"], "msg": n, "request_id": f"order-{n}", "durable": n % 2 == 0, "trace": n % 3 == 0}
        for n in range(12)
    ]
    web.dying.step, web.dying.after = step, after
    with pytest.raises(Died):
        web.post_batch(pushes)
    web.dying.step = ""
    ids = _ids(web.post_batch(pushes))
    tasks = queued.take(broker.url)
    assert {task["push_id"] for task in tasks} == set(ids)
    messages = web.kept.inbox.read({"alice": 0}, 100)["alice"].messages
    assert [one.push_id for one in messages] == ids[::2]
    offsets = {one.push_id: one.offset for one in messages}
    assert all(task["places"]["alice"][1] == offsets[task["push_id"]] for task in tasks if task.get("durable"))
    passed = [task["push_id"] for task in tasks if web.kept.requests.take(task["request_id"], task["claim"])]
    assert Counter(passed) == dict.fromkeys(ids, 1)
    assert _ids(web.post_batch(pushes)) == ids
    assert queued.take(broker.url) == []


def test_calls_at_once_with_the_same_request_ids_in_other_orders_are_the_same_pushes(
    web: Web, broker: RabbitMQ
) -> None:
    pushes = [_push(n, request_id=f"r{n}", durable=n % 2 == 0) for n in range(100)]
    orders = [pushes, pushes[::-1], pushes[50:] + pushes[:50], pushes[::2] + pushes[1::2]]
    with ThreadPoolExecutor(len(orders)) as pool:
        answers = list(pool.map(web.post_batch, orders))
    found: dict[str, set[str]] = {}
    for order, answer in zip(orders, answers, strict=True):
        for push, push_id in zip(order, _ids(answer), strict=True):
            found.setdefault(push["request_id"], set()).add(push_id)
    assert {len(ids) for ids in found.values()} == {1}
    assert Counter(task["request_id"] for task in queued.take(broker.url)) == dict.fromkeys(found, 1)


def test_a_batch_caught_by_the_end_of_the_broker_is_accepted_push_by_push_or_leaves_nothing(
    web: Web, broker: RabbitMQ
) -> None:
    accepted: list[str] = []
    plain: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        for number in range(40):
            killing = pool.submit(broker.kill) if number == 5 else None
            kinds = [{"durable": True}, {}] * 60
            pushes = [{"keys": ["alice"], "msg": number, **kind} for kind in kinds]
            answer = web.post_batch(pushes)
            accepted += _accepted(answer)
            if answer.status_code == 202:
                results = answer.json["results"]
                plain += [result["push_id"] for result in results[1::2] if "push_id" in result]
            if killing is not None:
                killing.result(RECOVERS_S)
    broker.start()
    durable = [push_id for push_id in accepted if push_id not in set(plain)]
    messages = web.kept.inbox.read({"alice": 0}, 5000)["alice"].messages
    assert [one.push_id for one in messages] == durable
    assert 300 <= len(durable) < 40 * 60
    web.until_up()
    assert {task["push_id"] for task in queued.take(broker.url)} >= set(accepted)


def test_while_the_broker_is_down_a_batch_is_refused_as_a_whole_and_leaves_nothing(web: Web, broker: RabbitMQ) -> None:
    broker.kill()
    try:
        until(lambda: web.committer.state is not State.UP, 10, "the loss noticed")
        answer = web.post_batch([_push(1), _push(2, durable=True), _push(3, request_id="r"), _push(4, delay_s=9)])
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert web.nothing_is_left_of("key-2")
    finally:
        broker.start()


def test_a_store_that_hangs_spoils_only_what_it_is_needed_for(broker: RabbitMQ, own_redis: RedisServer) -> None:
    kept = open_kept(own_redis.url, store_timeout_s=0.3)
    kept.now_ms()
    with serving(broker.url, kept) as web:
        queued.take(broker.url)
        own_redis.freeze()
        try:
            pushes = [_push(0), _push(1, durable=True), _push(2, request_id="r"), _push(3), _push(4, trace=True)]
            answer = web.post_batch(pushes)
        finally:
            own_redis.thaw()
        results = answer.json["results"]
        assert ["push_id" in result for result in results] == [True, False, False, True, False]
        errors = {result["error"]["type"] for result in results if "error" in result}
        assert errors == {"urn:cloudpush:store-unavailable"}
        there = {payload["push_id"] for payload in queued.take(broker.url)}
        assert there == {results[0]["push_id"], results[3]["push_id"]}
    kept.client.close()
