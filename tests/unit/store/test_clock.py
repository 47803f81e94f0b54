"""The store's time, as a process remembers it."""

from store.clock import StoreClock


class _Time:
    def __init__(self) -> None:
        self.monotonic_s, self.wall_s = 100.0, 1_700_000_000.0

    def clock(self) -> StoreClock:
        return StoreClock(lambda: self.monotonic_s, lambda: self.wall_s)


def test_until_the_store_has_answered_the_wall_clock_has_to_do() -> None:
    assert _Time().clock().now_ms() == 1_700_000_000_000


def test_from_the_first_answer_on_it_is_the_stores_time_that_goes_on() -> None:
    time = _Time()
    clock = time.clock()
    assert clock.learn(1_800_000_000, 250_999) == 1_800_000_000_250
    assert clock.now_ms() == 1_800_000_000_250
    time.monotonic_s += 1.5
    assert clock.now_ms() == 1_800_000_001_750


def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    time = _Time()
    clock = time.clock()
    time.wall_s += 3_600
    assert clock.now_ms() == 1_700_000_000_000
    clock.learn(1_800_000_000, 0)
    time.wall_s -= 7_200
    assert clock.now_ms() == 1_800_000_000_000
