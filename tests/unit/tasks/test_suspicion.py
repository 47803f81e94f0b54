"""A store that did not answer is left alone for a moment, then asked by one."""

import pytest

from proto.errors import StoreUnavailable
from tasks.suspicion import Suspicion


class _Store:
    now = 0.0
    up = True
    asked = 0

    def clock(self) -> float:
        return self.now

    def answer(self) -> str:
        self.asked += 1
        if not self.up:
            raise StoreUnavailable("down")
        return "here"


def test_after_a_silence_nobody_asks_for_a_moment_and_then_one_answer_ends_it() -> None:
    store = _Store()
    suspicion = Suspicion(store.clock)
    store.up = False
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            suspicion.ask(store.answer)
    assert store.asked == 1
    store.now, store.up = 1.1, True
    assert [suspicion.ask(store.answer) for _ in range(2)] == ["here", "here"]


def test_while_one_finds_out_the_others_fail_at_once() -> None:
    store = _Store()
    suspicion = Suspicion(store.clock)
    store.up = False
    with pytest.raises(StoreUnavailable):
        suspicion.ask(store.answer)
    store.now, store.up = 1.1, True

    def slow() -> str:
        with pytest.raises(StoreUnavailable):
            suspicion.ask(store.answer)
        return store.answer()

    assert suspicion.ask(slow) == "here"
    assert store.asked == 2
