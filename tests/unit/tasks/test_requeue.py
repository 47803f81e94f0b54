"""What a worker puts on the broker itself: with what it needs to be found again, confirmed, or not at all."""

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject
from kombu import Connection

import celeryconfig
from proto.message import Message, Push
from proto.queues import PUSH_TASK, Priority
from tasks import requeue

_PUSH = Push("01J0", ("a",), Message(9, b'"secret"'), priority=Priority.BULK, attempt=1)


@pytest.fixture
def app() -> Celery:
    app = Celery("requeue", broker="memory://", set_as_current=False)
    app.conf.task_create_missing_queues = True
    return app


def test_a_description_names_the_push_and_never_its_body() -> None:
    assert requeue.describe(_PUSH) == "(01J0: 1 keys, op 9, attempt 1)"


def test_a_later_attempt_goes_to_the_queue_of_its_priority_as_the_same_task(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(app, "send_task", lambda name, **options: sent.append((name, options)))
    requeue.again(app, _PUSH, 4)
    [(name, options)] = sent
    assert name == PUSH_TASK
    assert options["args"] == (_PUSH.to_payload(),)
    assert options["queue"].name == "cloudpush.bulk"
    assert options["countdown"] == 4
    assert options["retry"] is False


def test_a_failed_publish_rejects_the_task_and_its_connection_is_not_used_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Connection] = []

    def refuse(_name: str, *, producer: Any, **_: Any) -> None:
        used.append(producer.__connection__)
        producer.__connection__.connect()
        raise TimeoutError("no confirm")

    monkeypatch.setattr(app, "send_task", refuse)
    with pytest.raises(Reject, match="no confirm") as rejected:
        requeue.again(app, _PUSH, 1)
    assert rejected.value.requeue
    assert [connection.connected for connection in used] == [False]


def test_after_a_failed_publish_the_next_one_connects_anew(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(app, "send_task", _times_out)
        with pytest.raises(Reject):
            requeue.again(app, _PUSH, 1)
    requeue.dead_letter(app, _PUSH.to_payload(), "unreachable", "n2: down")
    with app.connection_for_read() as connection:
        letter = celeryconfig.dead_queue(connection.default_channel).get(no_ack=True)
    assert letter.headers["reason"] == "unreachable"
    assert letter.decode()["payload"] == _PUSH.to_payload()


def _times_out(*_: Any, **__: Any) -> None:
    raise TimeoutError("no confirm")
