"""A durable push is in its inbox: whatever kept it from sessions now, it has not failed."""

import pytest

from proto.message import Fate, Message, Place, Push
from tasks.dispatch import Settlement
from tasks.settling import decide

_PUSH = Push(
    push_id="p", keys=("a",), message=Message(9, b"1"), recorded=True, durable=True, places={"a": Place("e", 1)}
)


@pytest.mark.parametrize("fate", [Fate.SLOW, Fate.FAILED])
def test_a_durable_push_that_reached_nobody_is_offline_and_no_dead_letter(fate: Fate) -> None:
    verdict = decide(_PUSH, Settlement({"a": fate}, (), {}, {"a": "why"}, 0), max_attempts=8, now_ms=1)
    assert verdict.fates == {"a": Fate.OFFLINE}
    assert not verdict.dead
