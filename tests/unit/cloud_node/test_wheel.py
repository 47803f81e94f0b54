"""The wheel: never early, late by at most two ticks, whatever is set, moved and cancelled meanwhile."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.wire.wheel import NEVER, Wheel
from tests.fakes.wire import Clock

_TICK_S = 0.25
_HORIZON_S = 25.0


class _Thing:
    def __init__(self, world: "_World", then: Callable[["_Thing"], None] | None = None) -> None:
        self.slot = NEVER
        self.told: list[float] = []
        self._clock = world.clock
        self._then = then

    def due(self) -> None:
        self.told.append(self._clock.now)
        if self._then is not None:
            self._then(self)


class _World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.rounds = 0
        self.after: Callable[[], None] = lambda: None
        self.naps: list[float] = []
        self.wheel = Wheel(_TICK_S, _HORIZON_S, self._after, self.clock)

    def _after(self) -> None:
        self.rounds += 1
        self.after()

    def turn(self) -> None:
        self.wheel.turn(self.naps.append)

    def pass_s(self, seconds: float, step_s: float = _TICK_S) -> None:
        ends = self.clock.now + seconds
        while self.clock.now < ends:
            self.clock.now = min(ends, self.clock.now + step_s)
            self.turn()

    def thing(self, in_s: float | None = None, then: Callable[[_Thing], None] | None = None) -> _Thing:
        thing = _Thing(self, then)
        if in_s is not None:
            self.wheel.set(thing, in_s)
        return thing


@pytest.fixture
def world() -> _World:
    return _World()


@given(
    in_s=st.floats(0, _HORIZON_S),
    offset_s=st.floats(0, 1),
    steps=st.lists(st.floats(0.01, 0.3), min_size=1, max_size=8),
)
def test_a_deadline_is_never_early_and_at_most_two_ticks_late(in_s: float, offset_s: float, steps: list[float]) -> None:
    world = _World()
    world.clock.now += offset_s
    world.turn()
    set_at = world.clock.now
    thing = world.thing(in_s)
    step = 0
    longest = max(steps)
    while not thing.told:
        assert world.clock.now <= set_at + in_s + 2 * _TICK_S + longest
        world.clock.now += steps[step % len(steps)]
        step += 1
        world.turn()
    assert len(thing.told) == 1
    assert thing.told[0] >= set_at + in_s
    world.pass_s(3 * _HORIZON_S)
    assert len(thing.told) == 1, "it is told once"


@given(
    behind_s=st.floats(0, 4 * _HORIZON_S), in_s=st.floats(0, _HORIZON_S), then_s=st.floats(0, _HORIZON_S), old=st.data()
)
def test_a_deadline_set_while_the_wheel_is_behind_is_not_early_either(
    behind_s: float, in_s: float, then_s: float, old: st.DataObject
) -> None:
    """A pause of any length: what is set after it, before the wheel turns or while it catches up, counts from then."""
    world = _World()
    again: list[float] = []

    def set_again(thing: _Thing) -> None:
        if not again:
            again.append(world.clock.now + then_s)
            world.wheel.set(thing, then_s)

    before = world.thing(old.draw(st.floats(0, _HORIZON_S)), set_again)
    world.clock.now += behind_s
    set_at = world.clock.now
    thing = world.thing(in_s)
    world.turn()
    world.pass_s(3 * _HORIZON_S)
    assert len(thing.told) == 1
    assert set_at + in_s <= thing.told[0] <= set_at + in_s + 2 * _TICK_S
    assert len(before.told) == 2
    assert again[0] <= before.told[1] <= again[0] + 2 * _TICK_S


def test_after_a_pause_longer_than_the_wheel_everything_is_told_once_at_the_first_turn(world: _World) -> None:
    things = [world.thing(in_s / 2) for in_s in range(50)]
    world.clock.now += 1000
    world.turn()
    assert [thing.told for thing in things] == [[world.clock.now]] * 50


def test_a_deadline_set_again_moves(world: _World) -> None:
    thing = world.thing(1)
    world.pass_s(0.5)
    world.wheel.set(thing, 5)
    world.pass_s(4.75)
    assert thing.told == []
    world.pass_s(1)
    assert len(thing.told) == 1


def test_a_cancelled_deadline_is_not_told_and_may_be_set_again(world: _World) -> None:
    thing = world.thing(1)
    world.wheel.cancel(thing)
    world.wheel.cancel(thing)
    assert thing.slot == NEVER
    world.pass_s(3)
    assert thing.told == []
    world.wheel.set(thing, 1)
    world.pass_s(3)
    assert len(thing.told) == 1


def test_what_is_told_has_no_deadline_and_may_set_its_next_one(world: _World) -> None:
    slots: list[int] = []

    def again(thing: _Thing) -> None:
        slots.append(thing.slot)
        if len(thing.told) < 3:
            world.wheel.set(thing, 2)

    thing = world.thing(2, again)
    world.pass_s(20)
    assert slots == [NEVER] * 3
    assert all(later - earlier >= 2 for earlier, later in zip(thing.told, thing.told[1:], strict=False))
    assert thing.slot == NEVER


@pytest.mark.parametrize("in_s", [None, 1.0, _HORIZON_S])
def test_who_is_told_may_cancel_or_move_another_that_is_due_at_the_same_time(world: _World, in_s: float | None) -> None:
    pair: list[_Thing] = []

    def disturb(thing: _Thing) -> None:
        other = pair[1 - pair.index(thing)]
        if in_s is None:
            world.wheel.cancel(other)
        else:
            world.wheel.set(other, in_s)

    pair += [world.thing(1, disturb), world.thing(1, disturb)]
    world.pass_s(1.75)
    assert sorted(len(thing.told) for thing in pair) == [0, 1]
    for thing in pair:
        thing._then = None
    world.pass_s(3 * _HORIZON_S)
    assert sorted(len(thing.told) for thing in pair) == ([0, 1] if in_s is None else [1, 1])


def test_one_that_fails_costs_the_others_nothing(world: _World) -> None:
    def fail(_thing: _Thing) -> None:
        raise RuntimeError("a bug")

    things = [world.thing(1, fail if number % 2 else None) for number in range(10)]
    world.pass_s(2)
    assert [len(thing.told) for thing in things] == [1] * 10


def test_what_comes_after_a_round_may_fail_and_comes_again(world: _World) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    world.after = fail
    world.pass_s(1)
    assert world.rounds == 4, "else no heartbeat would ever be sent again"


def test_a_crowd_that_is_due_at_once_lets_others_run_in_between(world: _World) -> None:
    things = [world.thing(1) for _ in range(2500)]
    world.pass_s(2)
    assert sum(len(thing.told) for thing in things) == 2500
    assert world.naps == [0, 0]


def test_beyond_the_horizon_a_deadline_is_refused_and_the_old_one_is_gone(world: _World) -> None:
    thing = world.thing()
    with pytest.raises(ValueError, match="beyond the wheel's horizon"):
        world.wheel.set(thing, _HORIZON_S + 1)
    world.pass_s(3 * _HORIZON_S)
    assert thing.told == []


def test_the_greenlet_that_serves_it_sleeps_until_the_next_tick(world: _World) -> None:
    class Stopped(BaseException):
        pass

    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise Stopped
        world.clock.now += seconds + 0.1

    thing = world.thing(0)
    with pytest.raises(Stopped):
        world.wheel.serve(sleep)
    assert naps == pytest.approx([0.25, 0.15, 0.15])
    assert thing.told == [pytest.approx(1000.35)]


def test_nothing_is_kept_of_what_was_told_or_cancelled(world: _World) -> None:
    things = [world.thing(number % 20) for number in range(100)]
    for thing in things[::2]:
        world.wheel.cancel(thing)
    assert sum(map(len, world.wheel._slots)) == 50
    world.pass_s(25)
    assert not any(world.wheel._slots)
