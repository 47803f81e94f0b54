"""Tasks of many pushes through a real worker: whatever one of them meets, the others arrive, and nothing goes twice."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from proto import cloud_pb2
from proto.message import Push
from proto.queues import Priority
from tests.parts import journal
from tests.parts.job import Job, delivers, job_tier
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.views import metric

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SOON_S = 20.0


@pytest.fixture(scope="module")
def job(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    home = tmp_path_factory.mktemp("many")
    settings = {"CLOUDPUSH_WORKER_CONCURRENCY": "2", "CLOUDPUSH_NODE_DEADLINE_S": "10"}
    with job_tier(home, private_rabbitmq.add_vhost(home.name), redis, settings=settings) as job:
        yield job


@pytest.fixture(autouse=True)
def _delivers_again(job: Job) -> Iterator[None]:
    yield
    job.node.on_push = delivers


def _many(job: Job, name: Name, count: int, **fields: Any) -> list[Push]:
    keys = [name(f"k{number}") for number in range(count)]
    job.hold(*keys)
    return [job.make(key, recorded=False, **fields) for key in keys]


def _arrived(job: Job, *pushes: Push) -> bool:
    return {it.push_id for it in pushes} <= {request.push_id for request in job.node.requests}


def test_a_thousand_pushes_in_one_task_all_arrive_once(job: Job, name: Name) -> None:
    pushes = _many(job, name, 1000)
    job.put(*pushes)
    until(lambda: _arrived(job, *pushes), _SOON_S, "all at the node")
    journal.until_line(job.worker.process, event="dispatched", pushes=1000, delivered=1000)
    assert all(len(job.sent(it)) == 1 for it in pushes)


def test_poison_of_each_kind_is_a_dead_letter_and_its_companions_arrive(job: Job, name: Name) -> None:
    first, last = _many(job, name, 2)
    job.hold(name("refused"))
    refused = job.make(name("refused"), recorded=False)
    stranger = job.make(name("k0"), recorded=False, server="10.9.9.9:1")

    def on_push(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        if request.push_id == refused.push_id:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "never")
        return delivers(request, context)

    job.node.on_push = on_push
    malformed = {**first.to_payload(), "push_id": name("malformed"), "keys": 5}
    payloads: list[Any] = [it.to_payload() for it in (first, refused, stranger)]
    job.put_payloads([*payloads, malformed, "no push at all", last.to_payload()])
    for push_id, reason in (
        (name("malformed"), "malformed"),
        (refused.push_id, "node_refused"),
        (stranger.push_id, "unknown_server"),
    ):
        journal.until_line(job.worker.process, event="dead letter", push_id=push_id, reason=reason)
    until(lambda: _arrived(job, first, last), _SOON_S, "its companions at the node")
    assert len(job.sent(first)) == len(job.sent(last)) == 1


def test_only_the_part_that_failed_is_sent_again(job: Job, name: Name) -> None:
    pushes = _many(job, name, 6)
    failing = {it.push_id for it in pushes[1::2]}

    def on_push(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        if request.push_id in failing:
            failing.remove(request.push_id)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much waits for the hub")
        return delivers(request, context)

    job.node.on_push = on_push
    before = metric(job.worker.url, "cloudpush_task_pushes_count")
    job.put(*pushes)
    until(lambda: all(len(job.sent(it)) == 2 for it in pushes[1::2]), _SOON_S, "what failed sent a second time")
    journal.until_line(job.worker.process, event="dispatched", pushes=3, delivered=3)
    assert all(len(job.sent(it)) == 1 for it in pushes[::2])
    assert metric(job.worker.url, "cloudpush_task_pushes_count") == before + 2, "what failed shared one task"


def test_recorded_pushes_of_a_task_each_have_their_receipt_and_line(job: Job, name: Name) -> None:
    job.hold(name("a"))
    here, nobody = (job.accept(job.make(name(key), durable=True)) for key in ("a", "nobody"))
    cancelled = job.accept(job.make(name("a"), durable=True))
    assert job.store.receipts.cancel(cancelled.push_id, job.store.clock.now_ms())
    job.put(here, cancelled, nobody)
    lines = [
        journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id)
        for it in (here, cancelled, nobody)
    ]
    assert [(line.get("delivered"), line.get("cancelled"), line.get("offline")) for line in lines] == [
        (1, None, None),
        (None, 1, None),
        (None, None, 1),
    ]
    states = [job.store.state(it.push_id, it.keys[0]) for it in (here, cancelled, nobody)]
    assert states == ["dispatched", "cancelled", "offline"]
    assert job.store.pending.waiting()[0] == 0


def test_high_priority_overtakes_what_the_worker_has_taken_already(job: Job, name: Name) -> None:
    gate, order = threading.Event(), list[str]()

    def on_push(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        order.append(request.push_id)
        if request.push_id in held:
            gate.wait(_SOON_S)
        return delivers(request, context)

    bulk = _many(job, name, 6, priority=Priority.BULK)
    (high,) = _many(job, name, 1, priority=Priority.HIGH)
    held, job.node.on_push = {bulk[0].push_id}, on_push
    for it in bulk:
        job.put(it)
    until(lambda: order == [bulk[0].push_id], _SOON_S, "the one thread that bulk may have at work")
    job.put(high)
    until(lambda: high.push_id in order, _SOON_S, "the push of high priority, past five of bulk")
    assert order == [bulk[0].push_id, high.push_id]
    gate.set()
    until(lambda: len(order) == 7, _SOON_S, "the rest")


def test_a_worker_killed_in_the_middle_of_a_task_gives_it_back_and_in_the_end_in_parts(job: Job, name: Name) -> None:
    gate, met = threading.Event(), list[str]()

    def on_push(request: cloud_pb2.PushMsgReq, context: Any) -> cloud_pb2.PushMsgReply:
        if request.push_id == poison.push_id:
            met.append(request.push_id)
            gate.wait(_SOON_S)
        return delivers(request, context)

    *others, poison = _many(job, name, 5)
    job.node.on_push = on_push
    job.put(*others, poison)
    for times in (1, 2):  # what kills its worker each time it comes
        until(lambda times=times: len(met) == times, _SOON_S, "the poison at work")  # type: ignore[misc]
        job.worker.process.signal(signal.SIGKILL)
        job.worker.process.kill()
        job.worker.process.start()
        job.wait_ready(job.worker)
    journal.until_line(job.worker.process, event="split", why="redelivered")
    until(lambda: len(met) == 3, _SOON_S, "the poison, in a task of its own")
    for it in others:
        journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id, delivered=1)
    assert not journal.lines(job.worker.process, event="dispatched", push_id=poison.push_id)
    gate.set()
    journal.until_line(job.worker.process, event="dispatched", push_id=poison.push_id, delivered=1)
