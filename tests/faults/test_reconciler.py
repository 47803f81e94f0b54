"""Pushes whose task is lost, or whose time is yet to come, while workers, broker and store end and come back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.receipts import State
from tests.parts.job import Job, Worker, job_tier
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.parts.views import metric

pytestmark = pytest.mark.services

_SOON_S = 20.0
_LEASE_S = 5.0


@pytest.fixture
def job(broker: RabbitMQ, store: RedisServer, tmp_path: Path) -> Iterator[Job]:
    with job_tier(tmp_path, broker.add_vhost(tmp_path.name), store.url, workers=2) as job:
        job.hold("a")
        yield job


def _leads(worker: Worker) -> bool:
    return metric(worker.url, "cloudpush_reconciler_leading") == 1


def _sent(job: Job, push_id: str) -> int:
    return sum(request.push_id == push_id for request in job.node.requests)


def test_of_two_workers_one_reconciles_and_when_it_is_killed_the_other_does(job: Job) -> None:
    until(lambda: any(map(_leads, job.workers)), _SOON_S, "a leader")
    leader, other = sorted(job.workers, key=_leads, reverse=True)
    for _ in range(5):  # each takes as long as a turn
        first = job.accept(job.make("a", durable=True), due_in_s=0)
        until(lambda push_id=first.push_id: _sent(job, push_id) >= 1, _SOON_S, "the push at the node")  # type: ignore[misc]
        assert [_leads(leader), _leads(other)] == [True, False]

    leader.process.kill()
    orphans = [job.accept(job.make("a", durable=True), due_in_s=0) for _ in range(20)]
    until(lambda: all(_sent(job, it.push_id) for it in orphans), _LEASE_S + _SOON_S, "all pushes at the node")

    assert _leads(other)
    published = metric(other.url, "cloudpush_reconciled_total", how="published")
    sent = sum(_sent(job, it.push_id) for it in orphans)
    print(f"leader killed: {len(orphans)} lost tasks, {published:.0f} published by the next, {sent} sent")
    assert published >= len(orphans)
    assert job.store.pending.waiting() == (0, 0)


def test_lost_tasks_are_found_although_broker_and_store_were_killed_meanwhile(
    job: Job, broker: RabbitMQ, store: RedisServer
) -> None:
    orphans = [job.accept(job.make("a", durable=True), due_in_s=3) for _ in range(10)]
    broker.kill()
    store.kill()
    store.start()
    until(lambda: job.store.pending.due(1) != [], _SOON_S, "a push that is due")
    broker.start()
    until(lambda: all(_sent(job, it.push_id) for it in orphans), _SOON_S + _LEASE_S, "all pushes at the node")
    kept = job.store.kept("a")
    assert [kept.count(it.push_id) for it in orphans] == [1] * len(orphans)
    until(lambda: job.store.pending.waiting() == (0, 0), _SOON_S, "nothing pending")


def test_a_schedule_survives_a_killed_worker_and_a_restarted_broker(job: Job, broker: RabbitMQ) -> None:
    it = job.accept(job.make("a", durable=True, delay_s=8), due_in_s=60)
    job.put(it, delay_s=8)
    for worker in job.workers:
        worker.process.kill()
    broker.kill()
    broker.start()
    for worker in job.workers:
        worker.process.start()
    for worker in job.workers:
        job.wait_ready(worker)
    assert _sent(job, it.push_id) == 0 or job.store.clock.now_ms() >= it.not_before_ms
    until(lambda: _sent(job, it.push_id) == 1, _SOON_S, "the push at the node")
    job.store.clock.ask(job.store.client)
    late_ms = job.store.clock.now_ms() - it.not_before_ms
    print(f"scheduled push, worker and broker killed in between: sent {late_ms} ms after its time")
    assert late_ms >= 0
    assert job.store.kept("a")[-1] == it.push_id
    assert job.store.state(it.push_id, "a") is State.DISPATCHED


def test_on_the_embedded_broker_the_reconciler_publishes_what_is_due(store: RedisServer, tmp_path: Path) -> None:
    with job_tier(tmp_path, store.url.rpartition("/")[0] + "/7", store.url, workers=1) as job:
        job.hold("a")
        it = job.make("a", durable=True, delay_s=2)
        job.accept(it, due_in_s=2)
        job.worker.process.kill()  # what a worker held in memory would be gone
        job.worker.process.start()
        job.wait_ready(job.worker)
        until(lambda: _sent(job, it.push_id) == 1, _SOON_S, "the push at the node")
        job.store.clock.ask(job.store.client)
        assert job.store.clock.now_ms() >= it.not_before_ms
        assert metric(job.worker.url, "cloudpush_reconciled_total", how="scheduled") == 1


def test_a_recorded_push_outlives_a_store_that_is_away_for_all_its_attempts(
    broker: RabbitMQ, own_redis: RedisServer, tmp_path: Path
) -> None:
    url = broker.add_vhost(f"{tmp_path.name}-away")
    with job_tier(tmp_path, url, own_redis.url, settings={"CLOUDPUSH_MAX_ATTEMPTS": "2"}) as job:
        job.hold("a")
        it = job.accept(job.make("a", durable=True))
        own_redis.stop()
        job.put(it)
        until(lambda: metric(job.worker.url, "cloudpush_push_retries_total") >= 3, _SOON_S, "three attempts")
        own_redis.start()
        until(lambda: _sent(job, it.push_id) == 1, _SOON_S, "the push at the node")
        until(lambda: job.store.state(it.push_id, "a") is State.DISPATCHED, _SOON_S, "the receipt")
        assert metric(job.worker.url, "cloudpush_dead_letters_total") == 0
