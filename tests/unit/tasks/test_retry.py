"""When to try again and when to give up."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.retry import LONGEST_DELAY_S, Again, GiveUp, next_step
from tasks.settings import TaskSettings


def test_delays_double_up_to_the_longest() -> None:
    steps = [next_step(attempt, max_attempts=8, now_ms=0, expires_ms=0) for attempt in range(8)]
    assert steps == [Again(1), Again(2), Again(4), Again(8), Again(8), Again(8), Again(8), GiveUp(expired=False)]


def test_together_the_delays_outlast_a_crashed_nodes_lease() -> None:
    attempts = TaskSettings.model_fields["max_attempts"].default
    steps = [next_step(attempt, max_attempts=attempts, now_ms=0, expires_ms=0) for attempt in range(attempts)]
    assert sum(step.delay_s for step in steps if isinstance(step, Again)) > 3 * 10


def test_a_push_that_would_be_too_late_next_time_is_expired_now() -> None:
    assert next_step(0, max_attempts=8, now_ms=1_000, expires_ms=2_000) == GiveUp(expired=True)
    assert next_step(0, max_attempts=8, now_ms=1_000, expires_ms=2_001) == Again(1)


@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(0, 2**45), st.integers(0, 2**45))
def test_every_push_comes_to_an_end_and_is_never_tried_after_its_time(
    attempt: int, max_attempts: int, now_ms: int, expires_ms: int
) -> None:
    step = next_step(attempt, max_attempts=max_attempts, now_ms=now_ms, expires_ms=expires_ms)
    if isinstance(step, Again):
        assert attempt + 1 < max_attempts
        assert 1 <= step.delay_s <= LONGEST_DELAY_S
        assert not expires_ms or now_ms + step.delay_s * 1000 < expires_ms
