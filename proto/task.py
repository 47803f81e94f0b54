"""A Celery task message, made without Celery: for nodes, which push themselves probes and must not import it.

Source: Celery's message protocol, version 2 (docs.celeryq.dev, internals/protocol).
"""

from typing import Any

# How much a task of many pushes holds: enough that its own cost is little a push, little enough that one that is taken
# by mistake, or done twice, is soon over.  A push that is larger by itself has a task of its own.
MOST_PUSHES = 100
MOST_BYTES = 256 * 1024


def message(task: str, task_id: str, args: list[Any], shown: str) -> tuple[list[Any], dict[str, Any]]:
    """Give body and headers of a task message; *shown* is what Flower displays instead of the arguments."""
    headers = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "argsrepr": shown,
        "kwargsrepr": "{}",
        "origin": "cloudpush",
        "ignore_result": True,
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
    }
    return [args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}], headers
