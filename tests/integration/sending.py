"""Words for tests of pushes: send one and be sure of its 202; ask for its fate."""

from typing import Any

import requests

from tests.parts import journal
from tests.parts.fleet import Fleet

CALL_S = 5.0


def push(fleet: Fleet, msg: Any = "hello", **fields: Any) -> str:
    """Push *msg*; gives the push_id of its 202."""
    answer = fleet.push({"msg": msg, **fields})
    assert answer.status_code == 202, answer.text
    push_id: str = answer.json()["push_id"]
    assert answer.json() == {"push_id": push_id, "status": "accepted", "href": f"/v1/pushes/{push_id}"}
    return push_id


def fates(fleet: Fleet, push_id: str) -> dict[str, int]:
    """Wait for the fate of every key of a push: their numbers by fate, and the ``sessions`` reached."""
    return journal.fates(fleet.worker, push_id)


def delivered(keys: int, sessions: int) -> dict[str, int]:
    """The fates of a push that reached every one of its keys, in so many sessions and no more."""
    return {"delivered": keys, "sessions": sessions}


def get(fleet: Fleet, path: str, **headers: str) -> Any:
    """GET something and give its JSON."""
    answer = requests.get(fleet.url + path, headers=headers, timeout=CALL_S)
    assert answer.status_code == 200, answer.text
    return answer.json()
