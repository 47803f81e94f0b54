"""What a worker puts on the broker itself: with what it needs to be found again, confirmed, or not at all."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject
from kombu import Connection
from pydantic import SecretStr

import celeryconfig
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

    monkeypatch.setattr(requeue, "put_push", refuse)
    with pytest.raises(Reject, match="no confirm") as rejected:
        requeue.again(app, _PUSH, 1)
    assert rejected.value.requeue
    assert [connection.connected for connection in used] == [False]


def test_after_a_failed_publish_the_next_one_connects_anew(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(requeue, "put_push", _times_out)
        with pytest.raises(Reject):
            requeue.again(app, _PUSH, 1)
    requeue.dead_letter(app, _PUSH.to_payload(), "unreachable", "n2: down")
    with app.connection_for_read() as connection:
        letter = celeryconfig.dead_queue(connection.default_channel).get(no_ack=True)
    assert letter.headers["reason"] == "unreachable"
    assert letter.decode()["payload"] == _PUSH.to_payload()


def _times_out(*_: Any, **__: Any) -> None:
    raise TimeoutError("no confirm")
