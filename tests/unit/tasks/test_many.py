"""A task of many pushes: each ends by itself, and what follows from them is on the broker once, together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.exceptions import Reject
from structlog.testing import capture_logs

from proto.errors import StoreUnavailable
from proto.message import Fate, Message, Push
from store.receipts import Step
from tasks import metrics, requeue, worker
from tasks.dispatch import Settlement
from tasks.push import push as push_task
from tasks.record import Begun

_NOW_MS = 1_000_000


@dataclass
class _World:
    """What tasks did to the broker and the record; *ends* says how a push ends, by its id."""

    ends: dict[str, Callable[[Push], Settlement]] = field(default_factory=dict)
    attempts: list[list[str]] = field(default_factory=list)
    again: list[list[tuple[str, int]]] = field(default_factory=list)
    apart: list[list[str]] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)
    settled: list[list[str]] = field(default_factory=list)
    begin: Callable[[Push], Begun] = Begun

    def attempt(self, pushes: Sequence[Push]) -> list[Settlement]:
        self.attempts.append([push.push_id for push in pushes])
        return [self.ends.get(push.push_id, _delivered)(push) for push in pushes]

    def begun(self, pushes: Sequence[Push]) -> list[Begun]:
        return [self.begin(push) for push in pushes]

    def settle(self, ends: Sequence[tuple[Push, Sequence[Step]]]) -> None:
        self.settled.append([push.push_id for push, steps in ends if steps])

    def run(self, *payloads: Any, **headers: Any) -> None:
        """Run a task of these payloads that came with these headers."""
        push_task.push_request(**headers)
        try:
            push_task.run(*payloads)
        finally:
            push_task.pop_request()


def _delivered(push: Push) -> Settlement:
    return Settlement(dict.fromkeys(push.keys, Fate.DELIVERED), (), {}, {}, len(push.keys))


def _left(push: Push) -> Settlement:
    return Settlement.none(push, "n2: down")


def _fails(_push: Push) -> Settlement:
    raise RuntimeError("a fault of ours")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> _World:
    world = _World()

    class _Courier:
        attempt = world.attempt

    class _Record:
        begin, settle = world.begun, world.settle

    def again(_app: Any, later: Sequence[tuple[Push, int]]) -> None:
        world.again.append([(push.push_id, delay_s) for push, delay_s in later])

    def dead_letter(_app: Any, payload: Any, reason: str, _details: str) -> None:
        world.dead.append((payload.get("push_id", "") if isinstance(payload, Mapping) else "", reason))

    monkeypatch.setattr(worker, "courier", _Courier)
    monkeypatch.setattr(worker, "record", _Record)
    monkeypatch.setattr(worker, "now_ms", lambda: _NOW_MS)
    monkeypatch.setattr(requeue, "again", again)
    monkeypatch.setattr(requeue, "dead_letter", dead_letter)
    monkeypatch.setattr(requeue, "apart", lambda _app, pushes: world.apart.append([it.push_id for it in pushes]))
    return world


def _push(push_id: str, **fields: Any) -> dict[str, Any]:
    fields = {"accepted_ms": _NOW_MS, **fields}
    return Push(push_id, (f"key-{push_id}",), Message(9, b"null"), **fields).to_payload()


def _splits(why: str) -> float:
    return float(metrics.SPLITS.labels(why)._value.get())


def test_all_go_in_one_attempt_and_none_leaves_anything(world: _World) -> None:
    world.run(*[_push(push_id) for push_id in "abc"])
    assert world.attempts == [["a", "b", "c"]]
    assert (world.again, world.dead, world.apart) == ([], [], [])


def test_a_malformed_one_is_a_dead_letter_and_the_others_go(world: _World) -> None:
    world.run(_push("a"), {"push_id": "bad"}, "text", _push("b"))
    assert world.attempts == [["a", "b"]]
    assert world.dead == [("bad", "malformed"), ("", "malformed")]


def test_a_task_without_a_push_is_no_task(world: _World) -> None:
    with pytest.raises(ValueError, match="without a push"):
        world.run()


def test_only_what_is_left_is_tried_again_and_together(world: _World) -> None:
    world.ends = {"b": _left, "d": _left}
    world.run(*[_push(push_id) for push_id in "abcd"])
    assert world.again == [[("b", 1), ("d", 1)]]


def test_expired_and_early_ones_are_not_attempted_and_keep_nobody(world: _World) -> None:
    world.run(_push("late", expires_ms=_NOW_MS), _push("early", not_before_ms=_NOW_MS + 2_500), _push("now"))
    assert world.attempts == [["now"]]
    assert world.again == [[("early", 3)]]


def test_an_unknown_server_is_its_own_pushs_dead_letter(world: _World) -> None:
    world.ends["b"] = lambda push: Settlement.all(push, Fate.FAILED, "no such", blame="unknown_server")
    world.run(_push("a"), _push("b", server="h:1"))
    assert world.dead == [("b", "unknown_server")]


def test_a_store_that_takes_no_note_keeps_those_that_need_none_going(world: _World) -> None:
    def away(_push: Push) -> Begun:
        raise StoreUnavailable("down")

    world.begin = away
    later_ms = _NOW_MS + 60_000
    world.run(_push("a"), _push("b", recorded=True, expires_ms=later_ms), _push("c", claim="c", request_id="r"))
    assert world.attempts == [["a"]]
    assert world.again == [[("b", 1), ("c", 1)]]


def test_receipts_of_a_task_are_told_together(world: _World) -> None:
    for push_id in "ab":
        world.ends[push_id] = lambda push: Settlement.all(push, Fate.OFFLINE)
    world.run(_push("a", recorded=True), _push("b", recorded=True), _push("c"), _push("d", recorded=True))
    assert world.settled == [["a", "b"]]


def test_superseded_and_cancelled_ones_leave_the_others_theirs(world: _World) -> None:
    def begin(push: Push) -> Begun:
        if push.push_id == "b":
            return Begun(None, superseded=True)
        return Begun(None, dict.fromkeys(push.keys, Fate.CANCELLED)) if push.push_id == "c" else Begun(push)

    world.begin = begin
    world.run(*[_push(push_id, recorded=True) for push_id in "abc"], _push("d"))
    assert world.attempts == [["a", "d"]]


def test_a_push_that_makes_our_code_fail_is_alone_with_it_in_the_end(world: _World) -> None:
    before, world.ends["b"] = _splits("failed"), _fails
    world.run(*[_push(push_id) for push_id in "abc"])
    assert world.apart == [["a", "b", "c"]]
    assert _splits("failed") == before + 1
    with pytest.raises(RuntimeError, match="a fault of ours"):
        world.run(_push("b"))
    assert len(world.apart) == 1, "a task of one cannot be split"


def test_where_the_broker_takes_no_split_a_task_that_failed_goes_back_whole(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "apart", _refused)
    world.ends["b"] = _fails
    with pytest.raises(Reject) as rejected:
        world.run(_push("a"), _push("b"))
    assert rejected.value.requeue, "its companions would end among the dead letters"


@pytest.mark.parametrize(("count", "split"), [(None, False), (1, False), (2, True), (19, True)])
def test_a_task_that_comes_back_a_second_time_is_split_before_anything_else(
    world: _World, count: int | None, split: bool
) -> None:
    world.run(_push("a"), _push("b"), **({} if count is None else {"x-delivery-count": count}))
    assert world.apart == ([["a", "b"]] if split else [])
    assert world.attempts == ([] if split else [["a", "b"]])


def test_a_task_of_one_is_never_split_however_often_it_comes(world: _World) -> None:
    world.run(_push("a"), **{"x-delivery-count": 7})
    assert (world.apart, world.attempts) == ([], [["a"]])


def test_a_broker_that_takes_no_split_is_drained_all_the_same(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "apart", _refused)
    world.run(_push("a"), _push("b"), **{"x-delivery-count": 2})
    assert world.attempts == [["a", "b"]]


def test_a_task_is_one_line_and_a_push_on_record_or_given_up_has_its_own(world: _World) -> None:
    world.ends = {"b": lambda push: Settlement.all(push, Fate.OFFLINE), "d": _given_up}
    with capture_logs() as lines:
        world.run(_push("a"), _push("b"), _push("c", recorded=True), _push("d"), _push("e"))
    told = [line for line in lines if line["event"] == "dispatched"]
    assert [line.get("push_id") for line in told] == ["c", "d", None]
    assert told[-1]["pushes"] == 5
    assert (told[-1]["delivered"], told[-1]["offline"], told[-1]["failed"]) == (3, 1, 1)
    assert told[-1]["offline_pushes"] == ["b"]


def test_a_task_of_one_is_told_as_its_push_and_a_probe_not_at_all(world: _World) -> None:
    with capture_logs() as lines:
        world.run(_push("a"))
        world.run({**_push("probe"), "keys": ["probe:h:1"]})
    assert [(line["push_id"], line["delivered"]) for line in lines] == [("a", 1)]


def _given_up(push: Push) -> Settlement:
    return Settlement.all(push, Fate.FAILED, "n1: no")


def _refused(*_: Any) -> None:
    raise Reject("the broker did not take it", requeue=True)
