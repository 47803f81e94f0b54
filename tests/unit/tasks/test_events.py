"""The outbox of events is bounded, and neighbouring task events travel together."""

from collections import deque
from typing import Any

import pytest

from tasks import events, metrics
from tasks.celery import app


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> deque[tuple[str, dict[str, Any]]]:
    held: deque[tuple[str, dict[str, Any]]] = deque()
    monkeypatch.setattr(events, "_outbox", held)
    return held


@pytest.fixture
def dispatcher() -> Any:
    one = app.events.Dispatcher(enabled=False, hostname="w@h")
    one.enabled = True  # without the connection that enable() would want
    return one


def test_an_event_is_only_put_into_the_outbox(dispatcher: Any, outbox: deque[tuple[str, dict[str, Any]]]) -> None:
    dispatcher.send("task-started", uuid="1", retry=True)
    dispatcher.send("worker-heartbeat", freq=2)
    (task_key, task), (worker_key, worker) = outbox
    assert (task_key, task["type"], task["uuid"], task["hostname"]) == ("task.multi", "task-started", "1", "w@h")
    assert "retry" not in task
    assert (worker_key, worker["freq"]) == ("worker.heartbeat", 2)


def test_a_full_outbox_drops_and_counts(
    dispatcher: Any, outbox: deque[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST_HELD", 2)
    dropped = metrics.EVENTS_DROPPED._value.get()
    for number in range(5):
        dispatcher.send("task-started", uuid=str(number))
    assert [event["uuid"] for _, event in outbox] == ["0", "1"]
    assert metrics.EVENTS_DROPPED._value.get() - dropped == 3


def test_a_group_that_nobody_asked_for_is_not_held(dispatcher: Any, outbox: deque[tuple[str, dict[str, Any]]]) -> None:
    dispatcher.groups = {"worker"}
    dispatcher.send("task-started", uuid="1")
    assert not outbox


def test_neighbouring_task_events_are_one_body_and_others_each_their_own() -> None:
    held = [
        ("task.multi", {"n": 1}),
        ("task.multi", {"n": 2}),
        ("worker.heartbeat", {"n": 3}),
        ("task.multi", {"n": 4}),
    ]
    assert list(events._bodies(held)) == [
        ("task.multi", [{"n": 1}, {"n": 2}]),
        ("worker.heartbeat", {"n": 3}),
        ("task.multi", [{"n": 4}]),
    ]
