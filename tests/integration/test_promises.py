"""The promise behind a 202 while RabbitMQ breaks or the process dies between two steps: real stores, one process."""

import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from app.intake import State
from proto.queues import Priority
from tests.parts import queued
from tests.parts.kept import Kept, open_kept
from tests.parts.mortal import RECOVERS_S, STEPS, Died, Web, lasting_broker, serving
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

_TAKEOVER_S = 0.3


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ to kill."""
    with lasting_broker(tmp_path_factory.mktemp("promises")) as server:
        yield server


@pytest.fixture
def kept(redis: str) -> Iterator[Kept]:
    """An empty store, in which a claim is taken over soon."""
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


_KINDS: dict[str, dict[str, Any]] = {
    "durable": {"durable": True},
    "traced": {"trace": True},
    "scheduled": {"delay_s": 60, "durable": True},
}


# On a broker that is not killed afterwards: RabbitMQ 3.10 may lose a quorum queue that was deleted and declared again.
@pytest.mark.parametrize("kind", _KINDS)
def test_a_push_refused_for_a_missing_queue_leaves_nothing_behind(
    private_rabbitmq: RabbitMQ, kept: Kept, kind: str
) -> None:
    url = private_rabbitmq.add_vhost(f"missing-{kind}")
    with serving(url, kept) as web:
        queued.delete(url, "celery_delayed_5" if kind == "scheduled" else Priority.NORMAL.queue)
        refused = web.post({"keys": ["alice", "bob"], "msg": 1, **_KINDS[kind]})
        assert (refused.status_code, refused.json["type"]) == (503, "urn:cloudpush:broker-unavailable")
        assert web.nothing_is_left_of("alice", "bob")
        web.until_up()
        assert web.post({"keys": ["alice"], "msg": 1, **_KINDS[kind]}).status_code == 202
        assert not web.nothing_is_left_of("alice")


@pytest.mark.parametrize("request_id", [None, "r"])
def test_a_push_refused_while_the_broker_is_down_leaves_nothing_behind(
    web: Web, broker: RabbitMQ, request_id: str | None
) -> None:
    broker.kill()
    try:
        until(lambda: web.committer.state is not State.UP, 10, "the loss noticed")
        for kind in _KINDS.values():
            refused = web.post({"keys": ["alice"], "msg": 1, "request_id": request_id, **kind})
            assert refused.status_code == 503
        assert web.nothing_is_left_of("alice")
    finally:
        broker.start()


def test_a_push_caught_by_the_end_of_the_broker_is_accepted_or_leaves_nothing(web: Web, broker: RabbitMQ) -> None:
    accepted: list[str] = []
    for number in range(200):
        if number == 20:
            broker.kill()
        answer = web.post({"keys": ["alice"], "msg": number, "durable": True})
        assert answer.status_code in (202, 503)
        if answer.status_code == 202:
            accepted.append(answer.json["push_id"])
    broker.start()
    messages = web.kept.inbox.read({"alice": 0}, 300)["alice"].messages
    assert [one.push_id for one in messages] == accepted
    assert 20 <= len(accepted) < 200
    web.until_up()
    assert {task["push_id"] for task in queued.take(broker.url)} >= set(accepted)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_retry_of_a_call_whose_process_died_at_a_step_is_the_same_push(
    web: Web, broker: RabbitMQ, step: str, after: bool
) -> None:
    body = {"keys": ["alice", "bob"], "msg": 1, "durable": True, "request_id": "order-7"}
    web.dying.step, web.dying.after = step, after
    with pytest.raises(Died):
        web.post(body)
    web.dying.step = ""
    answer = web.post(body)
    assert answer.status_code == 202, answer.json
    push_id = answer.json["push_id"]
    tasks = queued.take(broker.url)
    assert {task["push_id"] for task in tasks} == {push_id}
    pages = web.kept.inbox.read({"alice": 0, "bob": 0}, 10)
    for key, page in pages.items():
        assert [one.push_id for one in page.messages] == [push_id]
        places = {tuple(task["places"][key]) for task in tasks}
        assert places == {(page.position.end.epoch, page.messages[0].offset)}
    passed = [web.kept.requests.take("order-7", task["claim"]) for task in reversed(tasks)]
    assert passed.count(True) == 1
    assert web.post(body).json["push_id"] == push_id
    assert queued.take(broker.url) == []


@pytest.mark.parametrize("step", ["write", "commit"])
def test_what_a_process_that_died_had_written_is_pending_with_its_payload(web: Web, step: str) -> None:
    web.dying.step, web.dying.after = step, step == "write"
    with pytest.raises(Died):
        web.post({"keys": ["alice"], "msg": 1, "durable": True})
    (kept_message,) = web.kept.inbox.read({"alice": 0}, 10)["alice"].messages
    (name,) = cast(list[str], web.kept.client.zrange(f"{web.kept.settings.store_namespace}:{{pending}}:due", 0, -1))
    payload = web.kept.receipts.payload(name)
    assert payload is not None
    assert (payload["push_id"], payload["keys"]) == (kept_message.push_id, ["alice"])


def test_a_schedule_outlives_a_restart_of_the_broker_and_is_never_early(web: Web, broker: RabbitMQ) -> None:
    answer = web.post({"keys": ["alice"], "msg": 1, "durable": True, "delay_s": 8.5})
    due = time.time() + 8.4  # the post above has taken some time
    assert answer.status_code == 202
    broker.stop()
    broker.start()
    assert time.time() < due, "the restart took too long for this test to tell anything"
    tasks, came = queued.wait(broker.url, RECOVERS_S)
    assert [task["push_id"] for task in tasks] == [answer.json["push_id"]]
    assert came >= tasks[0]["not_before_ms"] / 1000
    assert tasks[0]["expires_ms"] - tasks[0]["not_before_ms"] == 86_400_000
    receipt = web.kept.receipt(answer.json["push_id"])
    assert receipt.state.value == "scheduled"


def test_delays_are_kept_by_the_broker_to_the_second(web: Web, broker: RabbitMQ) -> None:
    sent: dict[str, float] = {}
    for delay_s in (0.2, 1, 2.1):
        sent[web.post({"keys": ["alice"], "msg": 1, "delay_s": delay_s}).json["push_id"]] = delay_s
    came: dict[str, float] = {}
    while len(came) < len(sent):
        tasks, at = queued.wait(broker.url, 10)
        came |= {task["push_id"]: at - task["not_before_ms"] / 1000 for task in tasks}
    assert list(came) == list(sent)
    assert all(late_s >= 0 for late_s in came.values()), came
