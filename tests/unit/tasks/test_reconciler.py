"""One turn of the reconciler, and where it stops: with a store and a broker that fail when a test says so."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.message import Message, Push
from proto.queues import Priority
from tasks.reconciler import Reconciler, delay_ms

_NOW = 100_000


class _World:
    """Clock, Pending, receipts and outlet in one: what is due, what is kept of it, and what was published."""

    def __init__(self) -> None:
        self.due_now: dict[str, Mapping[str, Any] | None] = {}
        self.leads = True
        self.published: list[Any] = []
        self.broker: Callable[[], None] = lambda: None
        self.postponed: dict[str, int] = {}
        self.removed: list[str] = []
        self.now = 0.0

    def ask(self, _client: object) -> None:
        """Clock."""

    def now_ms(self) -> int:
        return _NOW

    def lead(self, _owner: str, _ttl_s: float) -> bool:
        return self.leads

    def due(self, limit: int) -> list[str]:
        return list(self.due_now)[:limit]

    def waiting(self) -> tuple[int, int]:
        return len(self.due_now), 1

    def payload(self, push_id: str) -> Mapping[str, Any] | None:
        return self.due_now[push_id]

    def postpone(self, batch: Any, push_id: str, due_ms: int) -> None:
        batch.command("postpone", push_id, due_ms)

    def remove(self, batch: Any, push_id: str) -> None:
        batch.command("remove", push_id)

    @contextmanager
    def open(self) -> Iterator[Any]:
        yield self

    def close(self) -> None:
        """Outlet."""

    def publish(self, body: Any, **_options: Any) -> None:
        self.broker()
        self.published.append(body)

    def execute_command(self, *words: Any) -> int:
        match words:
            case "postpone", push_id, due_ms:
                self.postponed[push_id] = due_ms
            case "remove", push_id:
                self.removed.append(push_id)
        return 1

    def pipeline(self, **_: Any) -> "_World":
        return self

    def execute(self, **_: Any) -> list[int]:
        return []


@pytest.fixture
def world() -> _World:
    return _World()


@pytest.fixture
def reconciler(world: _World) -> Reconciler:
    any_world = cast(Any, world)
    return Reconciler(
        any_world, any_world, any_world, any_world, any_world, owner="w", every_s=1, monotonic=lambda: world.now
    )


def _kept(push_id: str, accepted_ms: int = _NOW - 15_000, **fields: Any) -> Mapping[str, Any]:
    return Push(push_id, ("a",), Message(9, b"null"), Priority.HIGH, accepted_ms=accepted_ms, **fields).to_payload()


def _ids(world: _World) -> list[str]:
    return [body[0][0]["push_id"] for body in world.published]


def test_what_is_due_is_published_as_it_was_kept_and_postponed(world: _World, reconciler: Reconciler) -> None:
    world.due_now = {"1": _kept("1"), "2": _kept("2", _NOW - 60_000)}
    assert reconciler.turn() is False
    assert [body[0] for body in world.published] == [[world.due_now["1"]], [world.due_now["2"]]]
    assert world.postponed == {"1": _NOW + 15_000, "2": _NOW + 60_000}


def test_a_worker_that_does_not_lead_touches_nothing(world: _World, reconciler: Reconciler) -> None:
    world.leads, world.due_now = False, {"1": _kept("1")}
    assert reconciler.turn() is False
    assert (world.published, world.postponed, world.removed) == ([], {}, [])


def test_what_nothing_is_left_of_pends_no_more(world: _World, reconciler: Reconciler) -> None:
    world.due_now = {"1": None}
    reconciler.turn()
    assert (world.published, world.removed) == ([], ["1"])


def test_what_nobody_can_read_becomes_a_dead_letter_once(world: _World, reconciler: Reconciler) -> None:
    world.due_now = {"1": {"push_id": "1"}, "2": _kept("2")}
    reconciler.turn()
    letter, task = world.published
    assert (letter["reason"], letter["payload"]) == ("malformed", {"push_id": "1"})
    assert task[0][0]["push_id"] == "2"
    assert world.removed == ["1"]


def test_a_broker_that_goes_away_in_the_middle_leaves_the_rest_as_it_was(world: _World, reconciler: Reconciler) -> None:
    def once() -> None:
        if world.published:
            raise BrokerUnavailable("gone")

    world.broker, world.due_now = once, {"1": _kept("1"), "2": _kept("2"), "3": _kept("3")}
    with pytest.raises(BrokerUnavailable):
        reconciler.turn()
    assert (_ids(world), list(world.postponed)) == (["1"], ["1"])


def test_a_turn_that_takes_too_long_for_its_lease_is_given_up(world: _World, reconciler: Reconciler) -> None:
    def slow() -> None:
        world.now += 2

    world.broker, world.due_now = slow, {f"{number}": _kept(f"{number}") for number in range(5)}
    reconciler.turn()
    assert _ids(world) == ["0", "1"]


def test_a_full_batch_is_followed_by_the_next_at_once(world: _World, reconciler: Reconciler) -> None:
    world.due_now = {f"{number}": _kept(f"{number}") for number in range(150)}
    assert reconciler.turn() is True
    assert len(world.published) == 100


@pytest.mark.parametrize(
    "error", [StoreUnavailable("down"), BrokerUnavailable("down"), RuntimeError("a fault of ours")]
)
def test_no_failure_ends_the_thread(
    world: _World, reconciler: Reconciler, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[Exception] = []

    def turn() -> bool:
        turns.append(error)
        if len(turns) == 2:
            reconciler._ended.set()
        raise error

    monkeypatch.setattr(reconciler, "turn", turn)
    reconciler._every_s = 0
    reconciler.run()
    assert len(turns) == 2


def test_delays_double_with_the_age_of_the_push_up_to_ten_minutes() -> None:
    ages: list[int] = []
    age = 0
    while len(ages) < 9:
        ages.append(delay := delay_ms(age) // 1000)
        age += delay * 1000
    assert ages == [15, 15, 30, 60, 120, 240, 480, 600, 600]
