"""What a receipt says as a whole, and what it shows that nobody wrote."""

from dataclasses import replace
from itertools import product

import pytest

from proto.queues import Priority
from store.receipt_scripts import LETTERS, read_key
from store.states import BEGINNINGS, ENDINGS, HANDED, TRANSITIONS, KeyReceipt, Owner, Receipt, State, after

_EXPIRES_MS = 1_000


def _receipt(*states: State, durable: bool = True) -> Receipt:
    keys = {f"k{number}": KeyReceipt(state, sessions=number) for number, state in enumerate(states)}
    return Receipt("p1", 9, Priority.NORMAL, durable, False, 1, 0, _EXPIRES_MS, keys)


def test_every_state_can_come_about() -> None:
    reached = set(BEGINNINGS)
    for _ in State:
        reached |= {to for before, to in TRANSITIONS if before in reached}
    assert reached == set(State)


def test_nothing_begins_twice_and_what_was_handed_over_stays_so() -> None:
    assert not any(to in BEGINNINGS for _, to in TRANSITIONS)
    assert all(after(before, to) in HANDED for before, to in TRANSITIONS if before in HANDED)
    assert after(State.ACKED, State.EMITTED) is State.ACKED


def test_each_state_is_the_work_of_one_owner() -> None:
    owners = {to: {owner for (_, at), owner in TRANSITIONS.items() if at is to} for to in State}
    assert all(len(found) == 1 for to, found in owners.items() if to not in BEGINNINGS)
    assert {to for to, found in owners.items() if found == {Owner.CLOUD}} == HANDED
    assert {to for to, found in owners.items() if found == {Owner.LOGIC}} == {State.CANCELLED}


def test_a_step_that_is_repeated_is_allowed_wherever_it_led() -> None:
    assert all(TRANSITIONS[after(before, to), to] is owner for (before, to), owner in TRANSITIONS.items())


def test_each_state_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(State)
    assert len(set(LETTERS.values())) == len(State)


def test_what_a_script_writes_is_read() -> None:
    assert read_key("a,,,,,,,,,") == KeyReceipt(State.ACCEPTED)
    assert read_key("g,1,2,3,4,5,6,7,e1,why, ever").reason == "why, ever"


@pytest.mark.parametrize("state", State)
def test_a_push_to_one_key_is_as_far_as_that(state: State) -> None:
    assert _receipt(state).state is state


def test_a_push_is_acked_or_emitted_only_when_it_is_for_every_key() -> None:
    for one, other in product(State, State):
        state = _receipt(one, other).state
        assert state in (one, other)
        assert (state is State.ACKED) == (one is other is State.ACKED)
        assert (state in HANDED) == ({one, other} <= HANDED)


def test_a_push_that_is_under_way_to_one_key_is_under_way() -> None:
    under_way = (State.SCHEDULED, State.ACCEPTED, State.DISPATCHED)
    for one, other in product(State, State):
        assert (_receipt(one, other).state in under_way) == (one in under_way or other in under_way)


def test_bad_news_is_not_hidden_behind_good_news() -> None:
    assert _receipt(State.ACKED, State.FAILED, State.OFFLINE).state is State.FAILED
    assert _receipt(State.ACKED, State.OFFLINE, State.FILTERED).state is State.OFFLINE
    assert _receipt(State.EMITTED, State.CANCELLED).state is State.CANCELLED


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("state", State)
def test_what_waited_until_it_expired_is_shown_as_expired_at_that_time(state: State, durable: bool) -> None:
    receipt = _receipt(state, durable=durable)
    assert receipt.seen_at(_EXPIRES_MS - 1) == receipt
    seen = receipt.seen_at(_EXPIRES_MS)
    waiting = {State.SCHEDULED, State.ACCEPTED, State.DISPATCHED} | ({State.OFFLINE} if durable else set())
    if state in waiting:
        assert seen.keys["k0"] == KeyReceipt(State.EXPIRED, ended_ms=_EXPIRES_MS)
        assert seen.state is State.EXPIRED
    else:
        assert seen == receipt


def test_what_never_expires_never_has() -> None:
    receipt = replace(_receipt(State.ACCEPTED), expires_ms=0)
    assert receipt.seen_at(2**60) == receipt


@pytest.mark.parametrize(
    ("awaited", "short_of_it"),
    [
        (State.DISPATCHED, {State.SCHEDULED, State.ACCEPTED}),
        (State.EMITTED, {State.SCHEDULED, State.ACCEPTED, State.DISPATCHED}),
        (State.ACKED, {State.SCHEDULED, State.ACCEPTED, State.DISPATCHED, State.EMITTED}),
    ],
)
def test_a_wait_is_over_when_each_key_is_there_or_has_ended_otherwise(awaited: State, short_of_it: set[State]) -> None:
    for state in State:
        assert _receipt(State.ACKED, state, *ENDINGS).reached(awaited) == (state not in short_of_it)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DISPATCHED, State.EMITTED, State.ACKED}))
def test_nobody_can_wait_for_an_ending(state: State) -> None:
    with pytest.raises(ValueError, match="waited for"):
        _receipt(State.ACCEPTED).reached(state)
