"""Whoever watches the worker, as Flower does, sees each task begin and end, and the worker's own heartbeat."""

import threading
from typing import Any

import kombu
import pytest
from celery.events.receiver import EventReceiver

from tasks.celery import app
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

_WANTED = {"task-received", "task-started", "task-succeeded"}


class _Watcher(EventReceiver):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.watching = threading.Event()
        super().__init__(*args, **kwargs)

    def on_consume_ready(self, *_: Any, **__: Any) -> None:
        self.watching.set()


def test_a_watcher_sees_a_task_received_started_and_succeeded_and_the_workers_heartbeat(fleet: Fleet) -> None:
    seen: list[tuple[str, str]] = []
    with kombu.Connection(fleet.broker_url) as connection:
        handlers = {"*": lambda event: seen.append((event["type"], event.get("uuid", "")))}
        watcher = _Watcher(connection, app=app, handlers=handlers)
        thread = threading.Thread(target=watcher.capture, kwargs={"wakeup": False})
        thread.start()
        try:
            assert watcher.watching.wait(5)
            push_id = fleet.push({"keys": ["watched"], "msg": 1}).json()["push_id"]
            until(lambda: {kind for kind, task in list(seen) if task == push_id} >= _WANTED, 5, "the three events")
            until(lambda: any(kind == "worker-heartbeat" for kind, _ in list(seen)), 10, "a heartbeat")
        finally:
            watcher.should_stop = True
            thread.join(5)
