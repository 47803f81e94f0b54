"""Calls that share a task → the Celery task message, in Celery's own form.  Pure.

Celery forms one message of each kind, once; a task then differs from it by its ids, what Flower shows, and its
arguments, which are JSON already.  Refuses `expires`: a worker would drop the task without recording an ending.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from app.broker import Call, TaskMessage

# Celery's own as_task_v2, which gives headers, properties, body and an event that we do not send.
FormTask = Callable[..., tuple[dict[str, Any], dict[str, Any], Any, Any]]
_ID = "00000000-0000-0000-0000-000000000000"


class Forming:
    """Makes task messages after Celery's pattern."""

    def __init__(self, form_task: FormTask) -> None:
        self._form_task = form_task
        self._patterns: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], bytes]] = {}

    def task_of(self, calls: Sequence[Call]) -> TaskMessage:
        """Give the task whose positional arguments are those of *calls*, which have name, queue and delay in common."""
        first = calls[0]
        headers, properties, rest = self._pattern(first.name)
        task_id = first.call_id
        shown = first.shown if len(calls) == 1 else f"({len(calls)} pushes, {first.call_id} to {calls[-1].call_id})"
        return TaskMessage(
            task_id,
            first.queue,
            {**headers, "id": task_id, "root_id": task_id, "argsrepr": shown},
            {**properties, "correlation_id": task_id},
            b"[[" + b",".join([call.argument for call in calls]) + b"]," + rest,
            first.delay_s,
        )

    def _pattern(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any], bytes]:
        pattern = self._patterns.get(name)
        if pattern is None:
            headers, properties, (_, *rest), _ = self._form_task(
                task_id=_ID, name=name, args=(), kwargs={}, argsrepr="", kwargsrepr="{}", ignore_result=True
            )
            pattern = self._patterns[name] = headers, properties, orjson.dumps(rest)[1:]
        return pattern
