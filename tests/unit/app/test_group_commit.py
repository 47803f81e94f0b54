"""Which pushes share a task: what arrives while the task before is unconfirmed, within the bounds of a task."""

from typing import Any

import pytest

from app.broker import Verdict
from app.intake import HandOver, Intake
from proto import queues, task
from proto.errors import BrokerUnavailable
from tests.parts.process import until
from tests.parts.scripted_broker import LONG_S, Rig, a_call, committing

_PUSH: dict[str, Any] = {"name": queues.PUSH_TASK, "queue": queues.Priority.NORMAL.queue}
_SHORT_S = 0.05


def _waiting(rig: Rig, number: int) -> None:
    until(lambda: rig.waiting == number, LONG_S, f"{number} pushes to wait")


def test_the_first_push_goes_at_once_and_those_that_come_meanwhile_share_the_next_task() -> None:
    with committing() as rig:
        first = rig.begin("first", **_PUSH)
        assert rig.broker.next() == (1, "first")
        others = []
        for number, name in enumerate("abc"):
            others.append(rig.begin(name, **_PUSH))
            _waiting(rig, number + 1)
        assert rig.broker.published.empty()
        rig.broker.say(1)
        first()
        assert rig.broker.next() == (2, "a+b+c")
        rig.broker.say(2)
        for call in others:
            call()


def test_members_of_a_task_end_together() -> None:
    with committing() as rig:
        rig.begin("first", **_PUSH)
        rig.broker.next()
        others = [rig.begin(name, **_PUSH) for name in "ab"]
        _waiting(rig, 2)
        rig.broker.say(1)
        tag, _ = rig.broker.next()
        rig.broker.say(tag, Verdict.NACKED)
        for call in others:
            with pytest.raises(BrokerUnavailable, match="refused the message"):
                call()


def test_a_push_that_gave_up_is_left_out_of_the_task_that_it_would_have_shared() -> None:
    with committing() as rig:
        rig.begin("first", **_PUSH)
        rig.broker.next()
        gone = rig.begin("gone", _SHORT_S, **_PUSH)
        stays = rig.begin("stays", **_PUSH)
        with pytest.raises(BrokerUnavailable, match="did not confirm"):
            gone()
        _waiting(rig, 2)
        rig.broker.say(1)
        assert rig.broker.next() == (2, "stays")
        rig.broker.say(2)
        stays()


def test_each_priority_has_tasks_of_its_own_and_the_most_urgent_goes_first() -> None:
    intake = Intake(10)
    intake.open()
    for priority in (queues.Priority.BULK, queues.Priority.NORMAL, queues.Priority.HIGH):
        intake.put([_handover(priority.value, queue=priority.queue) for _ in range(2)])
    taken = []
    while (group := intake.take(())) is not None:
        taken.append([member.call.call_id for member in group.members])
    assert taken == [["high", "high"], ["normal", "normal"], ["bulk", "bulk"]]


def test_a_busy_priority_does_not_hold_back_another() -> None:
    with committing() as rig:
        rig.begin("normal", **_PUSH)
        rig.broker.next()
        rig.begin("high", **(_PUSH | {"queue": queues.Priority.HIGH.queue}))
        assert rig.broker.next() == (2, "high")
        rig.broker.say(2, multiple=True)


def test_what_fills_a_task_does_not_wait_for_the_confirm_before_it() -> None:
    intake = Intake(1000)
    intake.open()
    intake.put([_handover() for _ in range(task.MOST_PUSHES + 1)])
    first = intake.take(())
    assert first is not None
    assert len(first.members) == task.MOST_PUSHES
    assert intake.take({first.lane}) is None
    intake.put([_handover() for _ in range(task.MOST_PUSHES - 1)])
    again = intake.take({first.lane})
    assert again is not None
    assert (len(again.members), len(intake)) == (task.MOST_PUSHES, 0)


def test_a_task_holds_so_many_bytes_and_a_larger_push_goes_alone() -> None:
    intake = Intake(1000)
    intake.open()
    half = b"x" * (task.MOST_BYTES // 2)
    intake.put([_handover(argument=each) for each in (half, half, b"more", 3 * half, b"last")])
    sizes = []
    while (group := intake.take(())) is not None:
        sizes.append([len(member.call.argument) for member in group.members])
    assert sizes == [[len(half), len(half)], [4], [3 * len(half)], [4]]


def test_what_is_no_push_never_shares_and_never_waits() -> None:
    with committing() as rig:
        calls = [rig.begin(name, name=queues.DISCONNECT_TASK) for name in "ab"]
        assert {rig.broker.next()[1], rig.broker.next()[1]} == {"a", "b"}
        rig.broker.say(2, multiple=True)
        for call in calls:
            call()


def test_pushes_with_different_delays_have_different_tasks() -> None:
    intake = Intake(10)
    intake.open()
    intake.put([_handover(str(delay), delay_s=delay) for delay in (0, 5, 0, 5)])
    taken = []
    while (group := intake.take(())) is not None:
        taken.append([member.call.call_id for member in group.members])
    assert taken == [["0", "0"], ["5", "5"]]


def test_many_pushes_of_one_call_are_taken_all_or_none() -> None:
    with committing(bound=3) as rig:
        rig.begin("first", **_PUSH)
        rig.broker.next()
        calls = [a_call(str(number), **_PUSH) for number in range(4)]
        with pytest.raises(BrokerUnavailable, match="wait for the broker already"):
            rig.committer.commit_all(calls, LONG_S)
        assert rig.waiting == 0
        answers = rig.pool.submit(rig.committer.commit_all, calls[:3], LONG_S)
        _waiting(rig, 3)
        rig.broker.say(1)
        assert rig.broker.next() == (2, "0+1+2")
        rig.broker.say(2)
        assert answers.result(LONG_S) == [None, None, None]


def _handover(call_id: str = "t", *, queue: str = "q", argument: bytes = b"", delay_s: int = 0) -> HandOver:
    call = a_call(call_id, queues.PUSH_TASK, queue, argument, delay_s)
    return HandOver(call, lambda _: None)
