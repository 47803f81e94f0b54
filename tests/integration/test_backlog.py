"""How deep and how old queues are, asked of real brokers and a real store; and what every tier shows of itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app.depths import Depths, EmbeddedDepths, RabbitDepths
from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.queues import EXCHANGE, Priority
from store.ages import Ages
from store.clock import StoreClock
from store.connection import connect as open_store
from store.settings import StoreSettings
from tests.integration.conftest import Connect
from tests.parts.clients import Client
from tests.parts.faults import frozen, stopped
from tests.parts.fleet import Fleet
from tests.parts.kept import open_kept
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.parts.views import metric

pytestmark = pytest.mark.services

_SOON_S = 10.0
_ELECTED_S = 30.0
_ALL_S = 40.0
_OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
_OPTIONS = {"visibility_timeout": 30}


@contextmanager
def _queues(url: str) -> Iterator[Any]:
    """Declare the queues as both brokers have them; gives the channel."""
    exchange = kombu.Exchange(EXCHANGE, type="topic", durable=True)
    arguments = {"x-queue-type": "quorum"} if url.startswith("amqp") else None
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        for priority in Priority:
            kombu.Queue(priority.queue, exchange, routing_key=priority.queue, durable=True, queue_arguments=arguments)(
                channel
            ).declare()
        yield channel


def _put(channel: Any, priority: Priority, count: int) -> None:
    producer = kombu.Producer(channel)
    for _ in range(count):
        producer.publish({}, exchange="", routing_key=priority.queue, serializer="json")


def _until(depths: Depths, **wanted: int) -> None:
    goal = {priority: wanted.get(priority.value, 0) for priority in Priority}
    until(lambda: depths.read() == goal, _SOON_S, f"depths of {goal}")


def _readable(depths: Depths) -> bool:
    try:
        depths.read()
    except BrokerUnavailable:
        return False
    return True


def _both_count_what_waits(url: str, depths: Depths) -> None:
    with _queues(url) as channel:
        _until(depths)
        _put(channel, Priority.NORMAL, 3)
        _put(channel, Priority.BULK, 1)
        _until(depths, normal=3, bulk=1)
        assert channel.basic_get(Priority.BULK.queue) is not None
        _until(depths, normal=3)  # taken and not yet done: the worker's
    depths.close()
    _until(depths, normal=3, bulk=1)  # it never was done; and a look after a close connects anew
    depths.close()


def test_rabbitmq_tells_how_many_tasks_wait(private_rabbitmq: RabbitMQ) -> None:
    url = private_rabbitmq.add_vhost("depths")
    _both_count_what_waits(url, RabbitDepths(url))


def test_the_embedded_broker_tells_how_many_tasks_wait(own_redis: RedisServer) -> None:
    depths = EmbeddedDepths(own_redis.url, _OPTIONS)
    with _queues(own_redis.url) as channel:
        _until(depths)
        _put(channel, Priority.NORMAL, 3)
        _until(depths, normal=3)
    depths.close()
    _until(depths, normal=3)
    depths.close()


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.freeze], ids=["stopped", "frozen"])
def test_an_embedded_broker_that_is_gone_is_unseen_until_it_is_back(
    own_redis: RedisServer, end: Callable[[RedisServer], None]
) -> None:
    depths = EmbeddedDepths(own_redis.url, _OPTIONS)
    _until(depths)
    end(own_redis)
    assert not _readable(depths)
    own_redis.thaw() if own_redis.child.running else own_redis.start()
    until(lambda: _readable(depths), _SOON_S, "depths again")
    depths.close()


def test_a_rabbitmq_that_restarts_is_unseen_until_it_is_back(own_rabbitmq: RabbitMQ) -> None:
    depths = RabbitDepths(own_rabbitmq.url)
    assert not _readable(depths), "no queue is there yet"
    with _queues(own_rabbitmq.url) as channel:
        _put(channel, Priority.HIGH, 2)
        _until(depths, high=2)
    own_rabbitmq.stop()
    assert not _readable(depths)
    assert not _readable(depths)
    own_rabbitmq.start()
    # A quorum queue without a leader, as just after the start, says 0.
    until(lambda: _readable(depths) and depths.read()[Priority.HIGH] == 2, _ELECTED_S, "depths again")
    depths.close()


def test_a_rabbitmq_that_does_not_answer_costs_a_look_no_more_than_its_deadline(own_rabbitmq: RabbitMQ) -> None:
    depths = RabbitDepths(own_rabbitmq.url)
    with _queues(own_rabbitmq.url):
        _until(depths)
    with frozen(own_rabbitmq.child):
        assert not _readable(depths)
    until(lambda: _readable(depths), _SOON_S, "depths again")
    depths.close()


def test_what_workers_noted_is_read_with_its_age_by_redis_clock(redis: str) -> None:
    kept = open_kept(redis)
    clock = StoreClock()
    clock.ask(kept.client)
    ages = Ages(kept.client, kept.settings, clock)
    assert ages.read() == {}
    ages.note({Priority.HIGH: 1500, Priority.BULK: 20_000})
    noted_ms = clock.now_ms()
    ages.note({Priority.HIGH: 2500})
    kept.wait_ms(noted_ms + 50)
    clock.ask(kept.client)
    taken = ages.read()
    assert {priority: one.age_s for priority, one in taken.items()} == {Priority.HIGH: 2.5, Priority.BULK: 20.0}
    assert taken[Priority.BULK].ago_s >= 0.04
    kept.client.hset(f"{kept.settings.store_namespace}:ages", mapping={"high": "soon", "normal": "1 x", "bulk": "-1 5"})
    assert ages.read() == {}, "what is no note is none"


def test_ages_are_unseen_while_the_store_is_away(own_redis: RedisServer) -> None:
    settings = StoreSettings(redis_url=own_redis.url)
    ages = Ages(open_store(settings), settings, StoreClock())
    ages.note({Priority.HIGH: 1})
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        ages.read()
    with pytest.raises(StoreUnavailable):
        ages.note({Priority.HIGH: 1})


def test_workers_say_how_long_pushes_waited_and_the_logic_tier_shows_it(
    fleet: Fleet, connect: Connect, name: Callable[[str], str]
) -> None:
    session = connect(fleet.nodes[0], key=name("aged"))
    for priority in ("high", "bulk"):
        assert fleet.push({"keys": [session.key], "msg": 1, "priority": priority}).status_code == 202
        session.next_push()
    until(lambda: metric(fleet.url, "cloudpush_queue_depths_seen") == 1, _SOON_S, "depths")
    until(lambda: metric(fleet.url, "cloudpush_queue_ages_seen") == 1, _SOON_S, "ages")
    until(lambda: _depth_shown(fleet) == dict.fromkeys(Priority, 0), _SOON_S, "empty queues")
    store = StoreSettings(redis_url=fleet.store_url, store_namespace=fleet.namespace)
    ages = Ages(client := open_store(store), store, clock := StoreClock())
    clock.ask(client)
    until(lambda: {Priority.HIGH, Priority.BULK} <= ages.read().keys(), _SOON_S, "notes of both")


def test_every_tier_names_pushes_in_exemplars_to_who_accepts_openmetrics(
    fleet: Fleet, connect: Connect, name: Callable[[str], str]
) -> None:
    session = connect(fleet.nodes[0], key=name("named"))
    push_ids = set()
    for _ in range(16):  # logic names one in so many
        push_ids.add(fleet.push({"keys": [session.key], "msg": 1}).json()["push_id"])
        session.next_push()
    for url in (fleet.url, fleet.worker_url):
        assert push_ids & _exemplars(url), url
    for url in (fleet.url, fleet.worker_url, fleet.nodes[0].url):
        plain = requests.get(f"{url}/metrics", timeout=5)
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert requests.get(f"{url}/metrics", headers=_OPENMETRICS, timeout=5).text.endswith("# EOF\n")


def _arrived(session: Client, missing: set[str]) -> bool:
    missing.difference_update(one["push_id"] for one in session.pushes_so_far())
    return not missing


def _depth_shown(fleet: Fleet) -> dict[Priority, float]:
    return {priority: metric(fleet.url, "cloudpush_queue_depth", queue=priority.value) for priority in Priority}


def _exemplars(url: str) -> set[str]:
    response = requests.get(f"{url}/metrics", headers=_OPENMETRICS, timeout=5)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    families = text_string_to_metric_families(response.text)  # type: ignore[no-untyped-call]
    samples = (sample for family in families for sample in family.samples)
    return {sample.exemplar.labels["push_id"] for sample in samples if sample.exemplar}


def test_on_the_embedded_broker_a_full_queue_is_refused_and_what_was_accepted_arrives(
    own_redis: RedisServer, tmp_path: Path, connect: Connect, name: Callable[[str], str]
) -> None:
    settings = {"CLOUDPUSH_SETTLE_S": "0", "CLOUDPUSH_MAX_DEPTH_NORMAL": "5", "CLOUDPUSH_BACKLOG_WATCH_S": "0.05"}
    embedded = Fleet(tmp_path, own_redis.url, own_redis.url, count=1, settings=settings)
    embedded.start()
    try:
        session = connect(embedded.nodes[0], key=name("embedded"))
        body = {"keys": [session.key], "msg": 1}
        with stopped(embedded.worker):
            answers: list[requests.Response] = []

            def is_refused() -> bool:
                answers.append(embedded.push(body))
                return answers[-1].status_code != 202

            until(is_refused, _SOON_S, "a refusal")
            assert (answers[-1].status_code, answers[-1].headers["Retry-After"]) == (429, "1")
            assert embedded.push({**body, "priority": "high"}).status_code == 202
        embedded.wait_ready()
        accepted = {answer.json()["push_id"] for answer in answers[:-1]}
        until(lambda: _arrived(session, accepted), _ALL_S, "all that was accepted")
        until(lambda: embedded.push(body).status_code == 202, _SOON_S, "room again")
    finally:
        embedded.stop()
