"""The push task: every key ends by name, or the rest is on the broker again before the task is acknowledged."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from celery.exceptions import Reject
from pydantic import SecretStr

from proto.errors import StoreUnavailable
from proto.message import Fate, Message, Place, Push
from store.receipts import State, Step
from tasks import metrics, requeue, worker
from tasks.dispatch import Settlement
from tasks.push import disconnect
from tasks.push import push as push_task
from tasks.record import Begun
from tasks.settings import TaskSettings


@dataclass
class _World:
    """What the task did to the broker, and how its attempts end."""

    attempt: Callable[[Push], Settlement] = lambda push: _all(push, Fate.DELIVERED)
    again: list[tuple[Push, int]] = field(default_factory=list)
    dead: list[tuple[Mapping[str, Any], str, str]] = field(default_factory=list)
    attempts: int = 0
    begin: Callable[[Push], Begun] = Begun
    settled: list[tuple[Push, list[Step]]] = field(default_factory=list)
    store_takes_notes: bool = True

    def begun(self, pushes: Sequence[Push]) -> list[Begun]:
        """What the record says of pushes."""
        return [self.begin(push) for push in pushes]

    def settle(self, ends: Sequence[tuple[Push, list[Step]]]) -> None:
        """What receipts are told."""
        if not self.store_takes_notes:
            raise StoreUnavailable("down")
        self.settled += [(push, steps) for push, steps in ends if steps]

    def run(self, *pushes: Push) -> dict[str, float]:
        """Run a task of these; gives by how much each fate's counter grew."""
        before = _fates()
        push_task(*[push.to_payload() for push in pushes])
        return {fate: count - before[fate] for fate, count in _fates().items() if count != before[fate]}


def _fates() -> dict[str, float]:
    return {fate.value: metrics.FATES.labels(fate.value)._value.get() for fate in Fate}


def _all(push: Push, fate: Fate) -> Settlement:
    return Settlement(dict.fromkeys(push.keys, fate), (), {}, {}, len(push.keys))


def _left(push: Push, done: Mapping[str, tuple[str, ...]] | None = None) -> Settlement:
    done = {key: (done or {}).get(key, ()) for key in push.keys}
    return Settlement({}, push.keys, done, dict.fromkeys(push.keys, "n2: down"), 0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> _World:
    world = _World()

    class _Courier:
        def disconnect(self, _keys: list[str]) -> None:
            raise StoreUnavailable("away")

        def attempt(self, pushes: Sequence[Push]) -> list[Settlement]:
            world.attempts += len(pushes)
            return [world.attempt(push) for push in pushes]

    class _Record:
        begin, settle = world.begun, world.settle

    monkeypatch.setattr(worker, "courier", _Courier)
    monkeypatch.setattr(worker, "now_ms", _now_ms)
    monkeypatch.setattr(worker, "record", _Record)
    monkeypatch.setattr(requeue, "again", lambda _app, later: world.again.extend(later))
    monkeypatch.setattr(
        requeue, "dead_letter", lambda _app, payload, reason, details: world.dead.append((payload, reason, details))
    )
    return world


def _push(*keys: str, **fields: Any) -> Push:
    return Push("01J0", keys or ("a",), Message(9, b"null"), accepted_ms=_now_ms(), **fields)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_what_is_delivered_is_counted_and_nothing_follows(world: _World) -> None:
    assert world.run(_push("a", "b")) == {"delivered": 2}
    assert (world.again, world.dead) == ([], [])


def test_what_is_left_goes_on_its_queue_again_with_the_nodes_that_have_it(world: _World) -> None:
    world.attempt = lambda _push: Settlement(
        {"a": Fate.DELIVERED}, ("b",), {"b": ("n1#x",)}, {"b": "n2: down"}, sessions=2
    )
    it = _push("a", "b", expires_ms=_now_ms() + 60_000)
    assert world.run(it) == {"delivered": 1}
    assert world.again == [(it.narrowed(["b"], {"b": ("n1#x",)}), 1)]
    assert world.dead == []


def test_a_later_attempt_waits_longer(world: _World) -> None:
    world.attempt = _left
    world.run(_push(attempt=2))
    assert [(push.attempt, delay_s) for push, delay_s in world.again] == [(3, 4)]


def test_the_last_attempt_is_followed_by_a_dead_letter_that_names_only_what_is_left(world: _World) -> None:
    world.attempt = lambda _push: Settlement({"a": Fate.DELIVERED}, ("b",), {"b": ()}, {"b": "n2: down"}, 1)
    it = _push("a", "b", attempt=worker.settings().max_attempts - 1)
    assert world.run(it) == {"delivered": 1, "failed": 1}
    [(payload, reason, details)] = world.dead
    assert (payload["keys"], reason, details) == (["b"], "unreachable", "n2: down")
    assert world.again == []


def test_a_key_that_some_nodes_have_ends_as_delivered_and_still_leaves_a_dead_letter(world: _World) -> None:
    world.attempt = lambda push: _left(push, {"a": ("n1#x",)})
    assert world.run(_push(attempt=worker.settings().max_attempts - 1)) == {"delivered": 1}
    assert [reason for _, reason, _ in world.dead] == ["unreachable"]


def test_a_push_that_would_be_too_late_next_time_expires_without_a_dead_letter(world: _World) -> None:
    world.attempt = _left
    assert world.run(_push(expires_ms=_now_ms() + 900)) == {"expired": 1}
    assert (world.again, world.dead) == ([], [])


def test_a_push_whose_time_is_over_is_not_attempted(world: _World) -> None:
    assert world.run(_push(expires_ms=_now_ms() - 1)) == {"expired": 1}
    assert world.attempts == 0


def test_what_a_node_refuses_for_good_is_a_dead_letter_at_once(world: _World) -> None:
    world.attempt = lambda _push: Settlement(
        {"a": Fate.FAILED, "b": Fate.DELIVERED}, (), {}, {"a": "n1: INVALID_ARGUMENT"}, 1
    )
    assert world.run(_push("a", "b")) == {"failed": 1, "delivered": 1}
    assert [(payload["keys"], reason) for payload, reason, _ in world.dead] == [(["a"], "node_refused")]
    assert world.again == []


def test_a_store_that_is_down_leaves_everything_for_later(world: _World) -> None:
    world.attempt = lambda push: Settlement.none(push, "down", away=True)
    it = _push("a", "b", attempt=1, done={"a": ("n1#x",)})
    assert world.run(it) == {}
    assert world.again == [(it.narrowed(it.keys, it.done), 2)]


def test_an_unknown_server_is_a_dead_letter(world: _World) -> None:
    world.attempt = lambda push: Settlement.all(push, Fate.FAILED, "no such", blame="unknown_server")
    assert world.run(_push(server="h:1")) == {"failed": 1}
    assert [(reason, details) for _, reason, details in world.dead] == [("unknown_server", "no such")]
    assert world.again == []


def test_a_malformed_payload_is_a_dead_letter_and_no_error(world: _World) -> None:
    payload: Any
    for payload in ({"push_id": "01J0"}, "text", None, [1]):
        push_task(payload)
    assert [reason for _, reason, _ in world.dead] == ["malformed"] * 4
    assert world.attempts == 0


def test_a_probe_is_never_tried_again(world: _World) -> None:
    world.attempt = _left
    assert world.run(_push("probe:127.0.0.1:9500")) == {}
    assert (world.again, world.dead) == ([], [])


def test_a_push_that_is_not_on_record_asks_nothing_of_the_record(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(worker, "record", nobody)
    world.attempt = lambda push: _all(push, Fate.OFFLINE)
    assert world.run(_push("a", expires_ms=_now_ms() + 60_000)) == {"offline": 1}
    assert world.run(_push("a", expires_ms=_now_ms() - 1)) == {"expired": 1}


def test_a_task_of_a_superseded_claim_ends_without_a_trace(world: _World) -> None:
    world.begin = lambda _push: Begun(None, superseded=True)
    assert world.run(_push(request_id="r", claim="c")) == {}
    assert (world.attempts, world.again, world.dead, world.settled) == (0, [], [], [])


def test_cancelled_keys_are_left_out_and_counted(world: _World) -> None:
    world.begin = lambda push: Begun(push.only(["b"]), {"a": Fate.CANCELLED})
    assert world.run(_push("a", "b", recorded=True)) == {"cancelled": 1, "delivered": 1}
    world.begin = lambda _push: Begun(None, {"a": Fate.CANCELLED})
    assert world.run(_push("a", recorded=True)) == {"cancelled": 1}
    assert world.attempts == 1


def test_what_is_left_of_an_appended_push_is_tried_again_with_its_places(world: _World) -> None:
    placed = {"a": Place("e1", 4)}
    world.begin = lambda push: Begun(replace(push, places=placed))
    world.attempt = _left
    world.run(_push("a", durable=True, recorded=True, expires_ms=_now_ms() + 60_000))
    assert [push.places for push, _ in world.again] == [placed]


def test_a_recorded_push_whose_store_is_down_is_not_sent_and_left_whole(world: _World) -> None:
    def away(_push: Push) -> Begun:
        raise StoreUnavailable("down")

    world.begin = away
    it = _push("a", "b", recorded=True, attempt=7, expires_ms=_now_ms() + 60_000)
    assert world.run(it) == {}
    assert [(push.keys, delay_s) for push, delay_s in world.again] == [(("a", "b"), 8)]
    assert (world.attempts, world.dead) == (0, [])


def test_where_the_receipt_cannot_be_told_nothing_is_given_up(world: _World) -> None:
    world.attempt, world.store_takes_notes = _left, False
    it = _push("a", recorded=True, attempt=7, expires_ms=_now_ms() + 60_000)
    assert world.run(it) == {}
    assert ([push.keys for push, _ in world.again], world.dead) == ([("a",)], [])


def test_a_receipt_is_told_before_the_dead_letter_is_written(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise Reject("the broker did not take it", requeue=True)

    monkeypatch.setattr(requeue, "dead_letter", refuse)
    world.attempt = _left
    with pytest.raises(Reject):
        push_task(_push("a", recorded=True, attempt=7).to_payload())
    assert [[step.to for step in steps] for _, steps in world.settled] == [[State.FAILED]]


def test_a_push_whose_time_has_not_come_goes_back_in_whole_seconds_rounded_up(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "now_ms", lambda: 1_000)
    it = _push("a", recorded=True, not_before_ms=41_001)
    assert world.run(it) == {}
    assert world.again == [(it, 41)]
    embedded = TaskSettings(broker_url=SecretStr("redis+socket:///tmp/none"))
    monkeypatch.setattr(worker, "settings", lambda: embedded)
    assert world.run(it) == {}
    assert world.again[1:] == [(it, 8)], "a worker holds it: not so long that the broker takes it for lost"
    assert world.attempts == 0


def test_a_disconnect_waits_for_the_store_and_then_becomes_a_dead_letter(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[tuple[list[str], int, int]] = []
    monkeypatch.setattr(
        requeue, "disconnect_again", lambda _app, keys, attempt, delay: later.append((keys, attempt, delay))
    )
    disconnect(["alice"])
    assert (later, world.dead) == ([(["alice"], 1, 1)], [])
    disconnect(["alice"], attempt=7)
    assert len(later) == 1
    assert [(payload, reason) for payload, reason, _ in world.dead] == [({"keys": ["alice"]}, "disconnect_failed")]


@pytest.mark.parametrize("name", ["again", "dead_letter"])
def test_where_the_broker_takes_nothing_the_task_goes_back_uncounted(
    world: _World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: Any) -> None:
        raise Reject("the broker did not take it", requeue=True)

    monkeypatch.setattr(requeue, name, refuse)
    world.attempt = _left
    before = _fates()
    last = worker.settings().max_attempts - 1
    with pytest.raises(Reject) as rejected:
        push_task(_push(attempt=0 if name == "again" else last).to_payload())
    assert rejected.value.requeue
    assert _fates() == before
