"""What a worker puts on the broker itself: with what it needs to be found again, confirmed, or not at all."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject
from kombu import Connection
from pydantic import SecretStr

import celeryconfig
from proto import task
from proto.message import Message, Push
from proto.queues import PUSH_TASK, Priority
from tasks import requeue
from tasks.consumer import flaw_of
from tasks.settings import TaskSettings

_PUSH = Push("01J0", ("a",), Message(9, b'"secret"'), priority=Priority.BULK, attempt=1)


@pytest.fixture
def app() -> Celery:
    app = Celery("requeue", broker="memory://", set_as_current=False)
    app.conf.task_create_missing_queues = True
    return app


def test_a_description_names_the_push_and_never_its_body() -> None:
    assert requeue.describe(_PUSH) == "(01J0: 1 keys, op 9, attempt 1)"


@dataclass
class _Producer:
    """Keeps what it is to publish."""

    sent: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def publish(self, body: Any, **options: Any) -> None:
        self.sent.append((body, options))


def test_a_task_goes_to_the_queue_of_its_priority_with_confirms(app: Celery) -> None:
    with app.connection_for_write() as connection:
        requeue.put_push(connection.Producer(), _PUSH.to_payload(), _PUSH)
        message = celeryconfig.push_queues[Priority.BULK](connection.default_channel).get(no_ack=True)
    assert message.headers["task"] == PUSH_TASK
    assert message.headers["argsrepr"] == "(01J0: 1 keys, op 9, attempt 1)"
    assert message.headers["eta"] is None
    assert message.decode()[0] == [_PUSH.to_payload()]
    assert flaw_of(message, {PUSH_TASK}) is None


def test_what_is_left_as_long_in_one_queue_shares_a_task(app: Celery) -> None:
    bulk = [replace(_PUSH, push_id=f"b{number}") for number in range(3)]
    normal = replace(_PUSH, push_id="n", priority=Priority.NORMAL)
    requeue.again(app, [(bulk[0], 0), (normal, 0), (bulk[1], 0), (bulk[2], 0)])
    assert _tasks(app, Priority.BULK) == [["b0", "b1", "b2"]]
    assert _tasks(app, Priority.NORMAL) == [["n"]]


def test_other_delays_are_other_tasks(monkeypatch: pytest.MonkeyPatch, app: Celery) -> None:
    put: list[tuple[int, int]] = []
    monkeypatch.setattr(
        requeue, "_put", lambda _producer, _name, args, _shown, _priority, delay_s: put.append((len(args), delay_s))
    )
    requeue.again(app, [(_PUSH, 1), (_PUSH, 2), (_PUSH, 1)])
    assert put == [(2, 1), (1, 2)]


def test_shared_tasks_keep_their_bounds_and_a_push_that_is_larger_goes_alone(app: Celery) -> None:
    requeue.again(app, [(replace(_PUSH, push_id=f"{number}"), 0) for number in range(task.MOST_PUSHES + 2)])
    assert [len(pushes) for pushes in _tasks(app, Priority.BULK)] == [task.MOST_PUSHES, 2]
    large = replace(_PUSH, push_id="large", message=Message(9, b'"' + b"x" * task.MOST_BYTES + b'"'))
    half = replace(_PUSH, push_id="half", message=Message(9, b'"' + b"x" * (task.MOST_BYTES // 2) + b'"'))
    requeue.again(app, [(large, 0), (half, 0), (_PUSH, 0), (half, 0)])
    assert _tasks(app, Priority.BULK) == [["large"], ["half", "01J0"], ["half"]]


def test_a_task_that_is_split_becomes_one_for_each_push_as_it_is(app: Celery) -> None:
    pushes = [replace(_PUSH, push_id=f"{number}") for number in range(3)]
    requeue.apart(app, pushes)
    assert _tasks(app, Priority.BULK) == [["0"], ["1"], ["2"]]


def test_many_are_described_by_number_first_and_last() -> None:
    assert requeue.describe(_PUSH, replace(_PUSH, push_id="01J1")) == "(2 pushes, 01J0 to 01J1: 2 keys)"


def test_a_delay_is_the_brokers_and_by_no_clock_of_ours() -> None:
    producer = _Producer()
    requeue.put_push(producer, _PUSH.to_payload(), _PUSH, 5)
    [(body, options)] = producer.sent
    assert body[0] == [_PUSH.to_payload()]
    assert options["exchange"] == "celery_delayed_27"
    assert options["routing_key"] == "0." * 25 + "1.0.1.cloudpush.bulk"
    assert options["headers"]["eta"] is None
    assert options["confirm_timeout"]
    assert options["retry"] is False


def test_the_embedded_broker_keeps_no_delay_so_a_worker_does(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = TaskSettings(broker_url=SecretStr("redis+socket:///tmp/none"))
    monkeypatch.setattr(celeryconfig, "settings", embedded)
    producer = _Producer()
    before = datetime.now(UTC)
    requeue.put_push(producer, _PUSH.to_payload(), _PUSH, 5)
    [(_, options)] = producer.sent
    assert options["routing_key"] == "cloudpush.bulk"
    assert datetime.fromisoformat(options["headers"]["eta"]) >= before + timedelta(seconds=5)


def test_a_failed_publish_rejects_the_task_and_its_connection_is_not_used_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Connection] = []

    def refuse(producer: Any, *_: Any) -> None:
        used.append(producer.__connection__)
        producer.__connection__.connect()
        raise TimeoutError("no confirm")

    monkeypatch.setattr(requeue, "_put", refuse)
    with pytest.raises(Reject, match="no confirm") as rejected:
        requeue.again(app, [(_PUSH, 1)])
    assert rejected.value.requeue
    assert [connection.connected for connection in used] == [False]


def test_after_a_failed_publish_the_next_one_connects_anew(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(requeue, "_put", _times_out)
        with pytest.raises(Reject):
            requeue.again(app, [(_PUSH, 1)])
    requeue.dead_letter(app, _PUSH.to_payload(), "unreachable", "n2: down")
    with app.connection_for_read() as connection:
        letter = celeryconfig.dead_queue(connection.default_channel).get(no_ack=True)
    assert letter.headers["reason"] == "unreachable"
    assert letter.decode()["payload"] == _PUSH.to_payload()


def _tasks(app: Celery, priority: Priority) -> list[list[str]]:
    """Take what is on a queue: the push ids of each task."""
    with app.connection_for_read() as connection:
        queue = celeryconfig.push_queues[priority](connection.default_channel)
        messages = iter(lambda: queue.get(no_ack=True), None)
        return [[payload["push_id"] for payload in message.decode()[0]] for message in messages]


def _times_out(*_: Any, **__: Any) -> None:
    raise TimeoutError("no confirm")
