"""Paced broadcasts, on a clock that the test turns: no second has more than the speed, and every end has a name."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proto.message import KeyOutcome, Outcome
from tests.fakes.pacing_world import Ended, PacingWorld

_ROUNDING_S = 1e-6  # of sums of fractions of a second


def _most_in_a_second(times: list[float]) -> int:
    """Count the events of the second that has most of them, wherever it begins."""
    most = begin = 0
    for end, at in enumerate(times):
        while times[begin] <= at - 1 + _ROUNDING_S:
            begin += 1
        most = max(most, end + 1 - begin)
    return most


@pytest.fixture
def ended() -> Ended:
    return Ended()


def test_the_first_get_it_at_once_and_the_others_in_the_order_in_which_they_came(ended: Ended) -> None:
    world = PacingWorld(10)
    assert world.begin(speed=2) == KeyOutcome(Outcome.QUEUED, 1)
    assert (world.sender.sids, len(world.pacing)) == (["0"], 1)
    world.goes_on()
    assert world.sender.got == [(str(n), {"op": 9, "msg": 1, "key": "all", "push_id": "p"}) for n in range(10)]
    assert world.sender.times == pytest.approx([n / 2 for n in range(10)])
    assert (ended(), len(world.pacing)) == ({"done": (1, 0)}, 0)


def test_a_broadcast_that_its_first_slice_finishes_is_delivered_and_takes_no_place() -> None:
    world = PacingWorld(5, most=1)
    for number in range(3):
        assert world.begin(speed=100, push_id=f"p{number}") == KeyOutcome(Outcome.DELIVERED, 5)
    assert len(world.pacing) == 0


@example(speed=20, sessions=100, lateness=[-0.01])
@given(
    st.integers(1, 60) | st.integers(1, 100_000),
    st.integers(1, 400),
    st.lists(st.floats(-0.01, 0.3), min_size=1, max_size=50),
)
def test_no_second_has_more_than_the_speed_however_late_or_early_the_hub_is(
    speed: int, sessions: int, lateness: list[float]
) -> None:
    turns = iter(lateness * 2_000)
    world = PacingWorld(sessions, late_s=lambda: next(turns, 0.0))
    world.begin(speed)
    world.goes_on()
    assert world.sender.sids == [str(number) for number in range(sessions)], "each once, nobody left out"
    assert _most_in_a_second(world.sender.times) <= speed


@pytest.mark.parametrize("speed", [1, 3, 19, 20, 39, 250, 5_010, 50_000, 123_457])
def test_a_hub_that_is_never_late_reaches_the_speed(speed: int) -> None:
    world = PacingWorld(3 * speed if speed < 1000 else speed)
    world.begin(speed)
    world.goes_on()
    assert _most_in_a_second(world.sender.times) == speed
    assert len(set(world.sender.times)) >= min(speed, 20)


def test_it_ends_when_its_time_is_over_and_says_how_many_it_did_not_reach(ended: Ended) -> None:
    world = PacingWorld(10)
    world.begin(speed=1, ttl_s=3)
    world.goes_on()
    assert world.sender.sids == ["0", "1", "2"]
    assert ended() == {"expired": (1, 7)}


def test_without_an_expiry_it_ends_after_a_day(ended: Ended) -> None:
    world = PacingWorld(2, late_s=lambda: 86_400.0)
    world.begin(speed=1)
    world.goes_on()
    assert (world.sender.sids, ended()) == (["0"], {"expired": (1, 1)})


def test_as_many_as_are_allowed_are_under_way_and_one_more_is_busy_until_one_ends() -> None:
    world = PacingWorld(3, most=2)
    assert [world.begin(speed=1, push_id=f"p{number}").outcome for number in range(3)] == [
        Outcome.QUEUED,
        Outcome.QUEUED,
        Outcome.BUSY,
    ]
    assert world.sender.sids == ["0", "0"]
    world.goes_on()
    assert world.begin(speed=1, push_id="p2").outcome is Outcome.QUEUED


def test_the_same_push_again_is_a_duplicate_while_it_is_under_way() -> None:
    world = PacingWorld(3)
    world.begin(speed=1)
    assert world.begin(speed=1) == KeyOutcome(Outcome.DUPLICATE)
    world.goes_on()
    assert world.sender.sids == ["0", "1", "2"]


def test_pushes_without_an_id_are_never_duplicates() -> None:
    world = PacingWorld(2)
    assert [world.begin(speed=1, push_id="").outcome for _ in range(2)] == [Outcome.QUEUED] * 2


def test_who_has_left_or_does_not_accept_the_op_any_more_costs_no_place(ended: Ended) -> None:
    world = PacingWorld(6)
    world.begin(speed=2)
    for sid in ("1", "2"):
        world.hub.remove(sid)
    world.hub.accept(world.sessions[3], frozenset({1}))
    world.add("new")
    world.goes_on(0.75)
    assert world.sender.sids == ["0", "4"]
    world.goes_on()
    assert world.sender.sids == ["0", "4", "5"]
    assert ended() == {"done": (1, 2)}


def test_a_session_that_came_back_under_its_name_is_another() -> None:
    world = PacingWorld(2)
    world.begin(speed=1)
    world.hub.remove("1")
    world.add("1")
    world.goes_on()
    assert world.sender.sids == ["0"]


def test_those_who_are_too_slow_do_not_end_it_and_are_not_counted_as_reached(ended: Ended) -> None:
    world = PacingWorld(3)
    world.sender.slow.add(world.sessions[0])
    assert world.begin(speed=1) == KeyOutcome(Outcome.QUEUED, 0)
    world.goes_on()
    assert (world.sender.sids, ended()) == (["1", "2"], {"done": (1, 1)})


def test_when_all_are_too_slow_at_once_it_says_so() -> None:
    world = PacingWorld(1)
    world.sender.slow.add(world.sessions[0])
    assert world.begin(speed=1) == KeyOutcome(Outcome.SLOW)


def test_a_node_that_stops_ends_it_and_says_how_many_it_did_not_reach(ended: Ended) -> None:
    world = PacingWorld(5)
    world.begin(speed=1)
    world.pacing.stop()
    world.goes_on()
    assert (world.sender.sids, len(world.pacing)) == (["0"], 0)
    assert ended() == {"stopped": (1, 4)}


def test_while_a_node_drains_it_goes_on_and_does_not_pass_for_done_if_sessions_were_closed_first(ended: Ended) -> None:
    world = PacingWorld(4)
    world.begin(speed=1)
    world.pacing.draining = True
    for sid in ("0", "3"):
        world.hub.remove(sid)
    world.goes_on()
    assert (world.sender.sids, ended()) == (["0", "1", "2"], {"stopped": (1, 1)})


def test_a_slice_that_fails_ends_it_and_frees_its_place(ended: Ended) -> None:
    world = PacingWorld(3, most=1)
    world.begin(speed=1)
    world.sender.broken = True
    world.goes_on()
    assert (world.sender.sids, ended()) == (["0"], {"failed": (1, 2)})
    with pytest.raises(RuntimeError):
        world.begin(speed=1, push_id="q")
    world.sender.broken = False
    assert world.begin(speed=1, push_id="q").outcome is Outcome.QUEUED


def test_a_recorded_one_is_noted_slice_by_slice_and_can_be_answered_under_a_number_that_changes_each_second() -> None:
    world = PacingWorld(5)
    world.begin(speed=2, recorded=True)
    world.goes_on()
    assert world.ledger.notes == [("handed", "p", "all", None, 1)] * 5
    first, second, third, fourth, last = world.sender.ack_ids
    assert first == second != third == fourth != last
    assert last is not None
    world.acks.answered(world.sessions[4], last)
    assert world.ledger.notes[5:] == [("acked", "p", "all")]


def test_one_that_is_not_recorded_asks_for_no_answer_and_writes_nothing() -> None:
    world = PacingWorld(3)
    world.begin(speed=1)
    world.goes_on()
    assert (world.sender.ack_ids, world.ledger.notes) == ([None] * 3, [])
