"""The promise behind a 202 while the broker is killed, stopped, short of memory, or short of a queue."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import amqp
import kombu
import orjson
import pytest

import celeryconfig
from app.broker import Broker, Call
from app.commit import Committer
from app.embedded import EmbeddedBroker
from app.forming import Forming
from app.intake import Intake, State
from app.publisher import Publisher
from app.rabbit import RabbitBroker
from proto import queues
from proto.errors import BrokerUnavailable
from tasks.celery import app as celery_app
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services

_DEADLINE_S = 1.5
_WITHIN_S = 2.0
_AT_ONCE_S = 0.2
_RECOVERS_S = 30.0
_QUEUE = queues.Priority.NORMAL.queue
_DECLARE = [celeryconfig.dead_queue, *celeryconfig.push_queues.values()]


@dataclass
class Callers:
    """Request threads that commit one task after the other, and note how each ended and how long it took."""

    committer: Committer
    threads: int = 8
    confirmed: set[str] = field(default_factory=set)
    refused: int = 0
    slowest_s: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._ids = count()
        self._pool = ThreadPoolExecutor(self.threads)

    def __enter__(self) -> "Callers":
        self._calls = [self._pool.submit(self._call) for _ in range(self.threads)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for call in self._calls:
            call.result(_RECOVERS_S)
        self._pool.shutdown()

    def _call(self) -> None:
        while not self._stop.is_set():
            task_id = f"task-{next(self._ids)}"
            began = time.monotonic()
            try:
                self.committer.commit(_call(task_id), _DEADLINE_S)
                self.confirmed.add(task_id)
            except BrokerUnavailable:
                self.refused += 1
                self._stop.wait(0.01)  # a caller told 503 does not try again at once
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def _call(call_id: str) -> Call:
    return Call(call_id, queues.PUSH_TASK, _QUEUE, orjson.dumps({"push_id": call_id}), call_id)


@contextmanager
def _committing(broker: Broker) -> Iterator[Committer]:
    intake = Intake(1024)
    publisher = Publisher(
        broker, intake, Forming(celery_app.amqp.as_task_v2).task_of, stall_s=_DEADLINE_S, max_in_flight=1024
    )
    committer = Committer(intake, publisher)
    committer.start()
    try:
        _wait(committer, State.UP)
        yield committer
    finally:
        committer.close(_RECOVERS_S)
        assert not publisher.is_alive()


@pytest.fixture
def on_rabbitmq(own_rabbitmq: RabbitMQ) -> Iterator[Committer]:
    with _committing(RabbitBroker(own_rabbitmq.url, _DECLARE)) as committer:
        yield committer


def _wait(committer: Committer, state: State) -> None:
    until(lambda: committer.state is state, _RECOVERS_S, f"the committer to be {state}")


def _refused(committer: Committer, within_s: float, what: str = "") -> None:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=what):
        committer.commit(_call("refused"), _DEADLINE_S)
    assert time.monotonic() - began < within_s


def _held(url: str) -> set[str]:
    """Take every task off the queue and give the ids of what they carry."""
    with kombu.Connection(url, connect_timeout=5) as connection:
        held, queue = set(), celeryconfig.push_queues[queues.Priority.NORMAL](connection.channel())
        while (message := queue.get(no_ack=True)) is not None:
            held |= {argument["push_id"] for argument in orjson.loads(message.body)[0]}
    return held


def _until_confirmed(callers: Callers, more: int) -> None:
    goal = len(callers.confirmed) + more
    until(lambda: len(callers.confirmed) >= goal, _RECOVERS_S, f"{more} more confirmed tasks")


def test_every_confirmed_task_is_on_the_queue_before_any_worker_was_there(
    own_rabbitmq: RabbitMQ, on_rabbitmq: Committer
) -> None:
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 500)
    assert callers.refused == 0
    assert _held(own_rabbitmq.url) == callers.confirmed


def test_no_confirmed_task_is_lost_when_the_broker_is_killed_under_load(
    own_rabbitmq: RabbitMQ, on_rabbitmq: Committer
) -> None:
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 200)
        own_rabbitmq.kill()
        _wait(on_rabbitmq, State.DOWN)
        _refused(on_rabbitmq, _AT_ONCE_S, "cannot be reached")
        own_rabbitmq.start()
        _until_confirmed(callers, 200)
    assert callers.refused
    assert callers.slowest_s < _WITHIN_S
    assert callers.confirmed <= _held(own_rabbitmq.url)


def test_a_broker_that_restarts_gracefully_loses_nothing_either(own_rabbitmq: RabbitMQ, on_rabbitmq: Committer) -> None:
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 200)
        own_rabbitmq.stop()
        own_rabbitmq.start()
        _until_confirmed(callers, 200)
    assert callers.slowest_s < _WITHIN_S
    assert callers.confirmed <= _held(own_rabbitmq.url)


def test_a_stopped_broker_means_503_in_time_then_at_once_and_service_when_it_goes_on(
    own_rabbitmq: RabbitMQ, on_rabbitmq: Committer
) -> None:
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 100)
        own_rabbitmq.child.signal(signal.SIGSTOP)
        _wait(on_rabbitmq, State.DOWN)
        _refused(on_rabbitmq, _AT_ONCE_S, "cannot be reached")
        own_rabbitmq.child.signal(signal.SIGCONT)
        _until_confirmed(callers, 100)
    assert callers.slowest_s < _WITHIN_S
    assert callers.confirmed <= _held(own_rabbitmq.url)


def test_large_messages_to_a_stopped_broker_are_refused_in_time_though_the_socket_is_full(
    own_rabbitmq: RabbitMQ, on_rabbitmq: Committer
) -> None:
    own_rabbitmq.child.signal(signal.SIGSTOP)
    try:
        large = Call("large", queues.PUSH_TASK, _QUEUE, b'"%b"' % (b"x" * 1_000_000), "large")

        def commit(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                on_rabbitmq.commit(large, _DEADLINE_S)
            return time.monotonic() - began

        with ThreadPoolExecutor(16) as pool:
            assert max(pool.map(commit, range(32))) < _WITHIN_S
    finally:
        own_rabbitmq.child.signal(signal.SIGCONT)


def test_a_missing_queue_is_a_refusal_and_is_declared_again(own_rabbitmq: RabbitMQ, on_rabbitmq: Committer) -> None:
    connection = amqp.Connection(host=f"127.0.0.1:{own_rabbitmq.port}", connect_timeout=5)
    connection.connect()
    connection.channel().queue_delete(_QUEUE)
    connection.close()
    _refused(on_rabbitmq, _WITHIN_S, "no queue takes the message")
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 10)
    assert callers.confirmed <= _held(own_rabbitmq.url)


def test_during_a_memory_alarm_pushes_are_refused_at_once_and_afterwards_taken(
    own_rabbitmq: RabbitMQ, on_rabbitmq: Committer
) -> None:
    with Callers(on_rabbitmq) as callers:
        _until_confirmed(callers, 50)
        own_rabbitmq.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.0000001).")
        _wait(on_rabbitmq, State.BLOCKED)
        _refused(on_rabbitmq, _AT_ONCE_S, "short of memory or disk")
        own_rabbitmq.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.4).")
        _wait(on_rabbitmq, State.UP)
        _until_confirmed(callers, 50)
    assert callers.slowest_s < _WITHIN_S
    assert callers.confirmed <= _held(own_rabbitmq.url)


def test_a_broker_that_refuses_us_is_down_and_not_a_hang(own_rabbitmq: RabbitMQ) -> None:
    intake = Intake(8)
    broker = RabbitBroker(own_rabbitmq.url.replace("guest:guest", "guest:wrong"), _DECLARE)
    committer = Committer(
        intake,
        Publisher(broker, intake, Forming(celery_app.amqp.as_task_v2).task_of, stall_s=_DEADLINE_S, max_in_flight=8),
    )
    committer.start()
    _refused(committer, _AT_ONCE_S, "cannot be reached")
    committer.close(_RECOVERS_S)


def test_on_the_embedded_broker_a_kill_means_503_in_time_and_service_after_a_restart(own_redis: RedisServer) -> None:
    declare = [kombu.Queue(_QUEUE, kombu.Exchange(queues.EXCHANGE, type="topic"), routing_key=_QUEUE)]
    with (
        _committing(EmbeddedBroker(own_redis.url, {"visibility_timeout": 30}, declare)) as committer,
        Callers(committer) as callers,
    ):
        _until_confirmed(callers, 100)
        own_redis.kill()
        _wait(committer, State.DOWN)
        _refused(committer, _AT_ONCE_S, "cannot be reached")
        own_redis.start()
        _until_confirmed(callers, 100)
        own_redis.freeze()
        _wait(committer, State.DOWN)
        own_redis.thaw()
        _until_confirmed(callers, 100)
    assert callers.slowest_s < _WITHIN_S
