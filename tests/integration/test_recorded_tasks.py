"""Tasks of recorded pushes: once, twice, early, late, cancelled, claimed twice; and what their receipts say."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from proto import cloud_pb2
from proto.message import Push
from store.batch import Batch
from store.receipts import Owner, State, Step
from tests.parts import journal
from tests.parts.job import Job, delivers, job_tier
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.views import metric

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SOON_S = 10.0


@pytest.fixture(scope="module")
def job(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    home = tmp_path_factory.mktemp("recorded")
    with job_tier(home, private_rabbitmq.add_vhost(home.name), redis) as job:
        yield job


def _ended(job: Job, push_id: str, times: int = 1) -> None:
    """Wait until that many tasks of a push have come to their end."""
    process = job.worker.process
    process.until(
        lambda: len(journal.lines(process, event="dispatched", push_id=push_id)) >= times,
        _SOON_S,
        f"{times} times dispatched: {push_id}",
    )


def _places(request: cloud_pb2.PushMsgReq) -> list[tuple[str, int]]:
    return [(place.epoch, place.offset) for place in request.places]


def test_a_durable_push_goes_to_the_node_with_its_places_and_is_on_record(job: Job, name: Name) -> None:
    job.hold(name("a"), name("b"))
    it = job.accept(job.make(name("a"), name("b"), durable=True))
    job.put(it)
    _ended(job, it.push_id)
    [request] = job.sent(it)
    assert _places(request) == [tuple(it.places[key]) for key in request.keys]
    assert request.recorded
    receipt = job.store.receipts.get(it.push_id)
    assert receipt is not None
    assert {key: kept.state for key, kept in receipt.keys.items()} == dict.fromkeys(it.keys, State.DISPATCHED)
    assert job.store.receipts.payload(it.push_id) is None
    assert it.push_id not in job.store.client.zrange(f"{job.namespace}:{{pending}}:due", 0, -1)


def test_the_same_task_twice_appends_once_and_both_name_the_same_place(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True), append=False)
    job.put(it, times=2)
    _ended(job, it.push_id, times=2)
    assert job.store.kept(name("a")) == [it.push_id]
    assert [_places(request) for request in job.sent(it)] == [[_places(job.sent(it)[0])[0]]] * 2


def test_a_durable_push_to_nobody_is_offline_and_waits_in_its_inbox(job: Job, name: Name) -> None:
    it = job.accept(job.make(name("nobody"), durable=True))
    job.put(it)
    _ended(job, it.push_id)
    assert job.store.state(it.push_id, name("nobody")) is State.OFFLINE
    assert job.store.kept(name("nobody")) == [it.push_id]


def test_a_task_that_comes_after_its_time_ends_as_expired_and_pends_no_more(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True, ttl_s=0.001))
    job.put(it)
    _ended(job, it.push_id)
    assert job.sent(it) == []
    assert job.store.state(it.push_id, name("a")) is State.EXPIRED
    assert job.store.pending.waiting()[0] == 0


def test_what_is_cancelled_before_its_task_comes_is_not_sent_and_the_other_keys_are(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True))
    assert job.store.receipts.cancel(it.push_id, job.store.clock.now_ms())
    job.put(it)
    line = journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id)
    assert line["cancelled"] == 1
    assert job.sent(it) == []


def test_a_scheduled_push_that_is_cancelled_is_not_even_appended(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True, delay_s=0.01))
    assert job.store.receipts.cancel(it.push_id, job.store.clock.now_ms())
    job.put(it)
    assert journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id)["cancelled"] == 1
    assert job.sent(it) == []
    assert job.store.inbox.positions([name("a")])[name("a")].last == 0


def test_a_task_that_comes_early_goes_back_for_the_rest_of_its_time(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True, delay_s=1.5), due_in_s=60)
    job.put(it)
    journal.until_line(job.worker.process, event="early: put back", push_id=it.push_id)
    assert job.store.kept(name("a")) == []
    _ended(job, it.push_id)
    assert job.store.clock.now_ms() >= it.not_before_ms
    [request] = job.sent(it)
    assert job.store.kept(name("a")) == [it.push_id]
    assert _places(request)[0][1] == 1


def test_of_two_tasks_of_one_request_only_the_first_is_dispatched(job: Job, name: Name) -> None:
    job.hold(name("a"))
    claims = [job.store.requests.claim(name("request"), "digest", "01J0"), None]
    assert claims[0] is not None
    it = job.make(name("a"), recorded=False, request_id=name("request"), claim=claims[0].claim)
    other = replace(it, claim=f"{claims[0].push_id}.other")
    for one in (it, other, it):
        job.put(one)
    _ended(job, it.push_id, times=2)
    journal.until_line(job.worker.process, event="superseded", push_id=it.push_id)
    assert len(job.sent(it)) == 2, "the first claim's task goes however often it comes"


def test_a_traced_push_that_its_sessions_do_not_accept_is_filtered_on_record(job: Job, name: Name) -> None:
    job.hold(name("a"))
    job.node.on_push = lambda request, _: cloud_pb2.PushMsgReply(
        outcomes=[cloud_pb2.OUTCOME_FILTERED] * len(request.keys), sessions=[0] * len(request.keys)
    )
    try:
        it = job.accept(job.make(name("a")))
        job.put(it)
        _ended(job, it.push_id)
    finally:
        job.node.on_push = delivers
    assert job.store.state(it.push_id, name("a")) is State.FILTERED


def test_what_a_node_hands_over_from_the_inbox_is_queued_and_not_tried_again(job: Job, name: Name) -> None:
    job.hold(name("a"))
    job.node.on_push = lambda request, _: cloud_pb2.PushMsgReply(
        outcomes=[cloud_pb2.OUTCOME_QUEUED] * len(request.keys), sessions=[0] * len(request.keys)
    )
    try:
        it = job.accept(job.make(name("a"), durable=True))
        job.put(it)
        line = journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id)
    finally:
        job.node.on_push = delivers
    assert line["queued"] == 1
    assert len(job.sent(it)) == 1
    assert job.store.state(it.push_id, name("a")) is State.DISPATCHED


def test_a_push_without_a_record_leaves_nothing_in_the_store(job: Job, name: Name) -> None:
    job.hold(name("a"))
    before = set(job.store.client.scan_iter(f"{job.namespace}:*"))
    it = job.make(name("a"), recorded=False)
    job.put(it)
    _ended(job, it.push_id)
    assert len(job.sent(it)) == 1
    assert set(job.store.client.scan_iter(f"{job.namespace}:*")) <= before | {f"{job.namespace}:{{pending}}:lead"}


def test_a_push_whose_task_never_came_is_found_and_dispatched(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True), due_in_s=0)
    _ended(job, it.push_id)
    [request] = job.sent(it)
    assert _places(request) == [tuple(it.places[name("a")])]
    assert job.store.kept(name("a")) == [it.push_id]
    assert metric(job.worker.url, "cloudpush_reconciled_total", how="published") >= 1
    until(lambda: job.store.pending.waiting()[0] == 0, _SOON_S, "nothing pending")


def test_a_pending_push_that_nothing_is_left_of_pends_no_more(job: Job, name: Name) -> None:
    batch = Batch(job.store.client)
    job.store.pending.add(batch, name("gone"), 1)
    batch.run()
    until(lambda: job.store.pending.waiting()[0] == 0, _SOON_S, "nothing pending")
    assert metric(job.worker.url, "cloudpush_reconciled_total", how="removed") >= 1


def test_a_push_that_sessions_have_had_is_not_appended_again_when_its_inbox_has_dropped_it(
    job: Job, name: Name
) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True))
    place = it.places[name("a")]
    batch = Batch(job.store.client)
    # A node found it in the inbox before any task came; then newer ones trimmed it.
    emitted = Step(name("a"), State.EMITTED, job.store.clock.now_ms(), sessions=1, place=place)
    job.store.receipts.advance(batch, it.push_id, Owner.CLOUD, [emitted])
    job.store.inbox.remove(batch, name("a"), it.push_id)
    batch.run()
    job.put(replace(it, places={}))  # the reconciler's
    _ended(job, it.push_id)
    assert job.store.kept(name("a")) == []
    assert [_places(request) for request in job.sent(it)] == [[tuple(place)]]


def test_a_push_that_the_store_lost_after_its_202_is_appended_again_by_its_task(job: Job, name: Name) -> None:
    job.hold(name("a"), name("b"))
    it = job.accept(job.make(name("a"), name("b"), durable=True))
    _forget(job, it, name("a"), name("b"))
    newer = job.accept(job.make(name("a"), durable=True))
    job.put(it)
    _ended(job, it.push_id)
    assert job.store.kept(name("a")) == [newer.push_id, it.push_id]
    assert job.store.kept(name("b")) == [it.push_id]
    [request] = job.sent(it)
    assert _places(request)[0] == (newer.places[name("a")].epoch, 2)


def test_a_push_that_was_withdrawn_is_not_appended_by_its_late_task(job: Job, name: Name) -> None:
    job.hold(name("a"))
    it = job.accept(job.make(name("a"), durable=True))
    batch = Batch(job.store.client)
    job.store.receipts.forget(batch, it.push_id)
    job.store.pending.remove(batch, it.push_id)
    job.store.inbox.remove(batch, name("a"), it.push_id)
    batch.run()
    job.put(it)
    _ended(job, it.push_id)
    assert job.store.kept(name("a")) == []
    assert len(job.sent(it)) == 1


def _forget(job: Job, it: Push, *keys: str) -> None:
    """Let the store forget what came last, as one that crashed."""
    kinds = (f"inbox:*{key}*" for key in keys)
    for pattern in (*kinds, f"receipt:*{it.push_id}*"):
        names = list(job.store.client.scan_iter(f"{job.namespace}:{pattern}"))
        assert names, pattern
        job.store.client.delete(*names)
