"""What a child process says in its log: one JSON object a line.  Waits for a line instead of a time.

Refuses to take a partial line for one: a line counts once its end is written.
"""

import json
from typing import Any

from tests.parts.process import Child

WAIT_S = 10.0
_FATES = frozenset({"delivered", "queued", "offline", "filtered", "expired", "slow", "failed", "cancelled"})


def lines(child: Child, **fields: Any) -> list[dict[str, Any]]:
    """The lines so far in which each of *fields* has that value."""
    if not child.log.exists():
        return []
    found = []
    hints = [json.dumps(value) for value in fields.values() if isinstance(value, str)]  # parsing is what takes long
    for text in child.log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        if not text.startswith("{") or not all(hint in text for hint in hints):
            continue
        line: dict[str, Any] = json.loads(text)
        if all(line.get(name) == value for name, value in fields.items()):
            found.append(line)
    return found


def until_line(child: Child, **fields: Any) -> dict[str, Any]:
    """Wait for a line in which each of *fields* has that value; gives the latest."""
    child.until(lambda: bool(lines(child, **fields)), WAIT_S, f"a line with {fields}")
    return lines(child, **fields)[-1]


def fates(worker: Child, push_id: str) -> dict[str, int]:
    """Wait until every key of a push has its fate; gives the number of keys by fate, and of ``sessions`` reached."""
    until_line(worker, event="dispatched", push_id=push_id)
    worker.until(lambda: bool(_fates(worker, push_id)), WAIT_S, f"the fate of {push_id}")
    sessions = sum(line["sessions"] for line in lines(worker, event="dispatched", push_id=push_id))
    return {**_fates(worker, push_id), "sessions": sessions}


def _fates(worker: Child, push_id: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in lines(worker, event="dispatched", push_id=push_id):
        for fate in _FATES & line.keys():
            counts[fate] = counts.get(fate, 0) + line[fate]
    return counts
