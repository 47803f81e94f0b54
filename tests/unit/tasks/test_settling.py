"""What follows from an attempt, decided without I/O: what ends, what goes on, what is a dead letter."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.message import Fate, Message, Place, Push
from tasks.dispatch import Settlement
from tasks.record import ENDS, steps
from tasks.settling import decide, postponed

_NOW = 1_000_000
_PLACES = {key: Place("e1", number) for number, key in enumerate("abcd", 1)}


def _push(*keys: str, durable: bool = True, **fields: Any) -> Push:
    fields = {"recorded": True, "expires_ms": _NOW + 600_000, "places": _PLACES if durable else {}, **fields}
    return Push("01J0", keys or ("a",), Message(9, b"null"), durable=durable, **fields).only(keys or ("a",))


def _left(*keys: str, done: Mapping[str, tuple[str, ...]] | None = None, away: bool = False) -> Settlement:
    done = {key: (done or {}).get(key, ()) for key in keys}
    return Settlement({}, keys, done, dict.fromkeys(keys, "n2: down"), 0, away=away)


def test_a_durable_push_out_of_attempts_is_offline_and_no_dead_letter() -> None:
    verdict = decide(_push(attempt=7), _left("a"), max_attempts=8, now_ms=_NOW)
    assert (verdict.fates, verdict.later, verdict.dead) == ({"a": Fate.OFFLINE}, None, {})


def test_a_traced_push_out_of_attempts_has_failed_and_is_a_dead_letter() -> None:
    verdict = decide(_push(durable=False, attempt=7), _left("a"), max_attempts=8, now_ms=_NOW)
    assert (verdict.fates, verdict.dead) == ({"a": Fate.FAILED}, {"unreachable": ("a",)})


def test_what_a_node_refuses_of_a_durable_push_stays_in_its_inbox() -> None:
    refused = Settlement({"a": Fate.FAILED}, (), {}, {"a": "n1: no"}, 0)
    assert decide(_push(), refused, max_attempts=8, now_ms=_NOW).fates == {"a": Fate.OFFLINE}
    assert decide(_push(), refused, max_attempts=8, now_ms=_NOW).dead == {}
    assert decide(_push(durable=False), refused, max_attempts=8, now_ms=_NOW).dead == {"node_refused": ("a",)}


def test_a_durable_push_that_is_short_of_time_is_to_be_had_until_the_end_of_it() -> None:
    short = _push(expires_ms=_NOW + 500)
    assert decide(short, _left("a"), max_attempts=8, now_ms=_NOW).fates == {"a": Fate.OFFLINE}
    assert decide(short, _left("a"), max_attempts=8, now_ms=_NOW + 500).fates == {"a": Fate.EXPIRED}


def test_a_later_attempt_carries_places_and_claim() -> None:
    it = _push("a", "b", request_id="r", claim="c")
    verdict = decide(it, Settlement({"a": Fate.QUEUED}, ("b",), {"b": ("n1",)}, {}, 0), max_attempts=8, now_ms=_NOW)
    assert verdict.later is not None
    assert verdict.later.places == {"b": _PLACES["b"]}
    assert (verdict.later.claim, verdict.later.done, verdict.later.attempt) == ("c", {"b": ("n1",)}, 1)


def test_a_recorded_push_waits_for_the_store_as_long_as_its_time_lasts() -> None:
    it = _push(attempt=0)
    for _ in range(50):
        verdict = decide(it, _left("a", away=True), max_attempts=8, now_ms=_NOW)
        assert verdict.later is not None
        it = verdict.later
    assert (it.attempt, verdict.delay_s) == (3, 8), "attempts are kept for the nodes"
    assert decide(_push(recorded=False, attempt=7), _left("a", away=True), max_attempts=8, now_ms=_NOW).later is None


def test_what_the_receipt_was_not_told_is_left_for_later_and_what_nodes_tell_it_is_not() -> None:
    it = _push("a", "b", "c", "d", durable=False)
    fates = {"a": Fate.DELIVERED, "b": Fate.OFFLINE, "c": Fate.CANCELLED}
    settlement = Settlement(fates, ("d",), {"d": ("n1",)}, {}, 1)
    verdict = decide(it, settlement, max_attempts=8, now_ms=_NOW)
    later = postponed(it, settlement, verdict, now_ms=_NOW)
    assert later.fates == {"a": Fate.DELIVERED, "c": Fate.CANCELLED}
    assert later.later is not None
    assert (later.later.keys, later.later.done) == (("b", "d"), {"b": (), "d": ("n1",)})


def test_what_the_receipt_was_not_told_in_time_ends_all_the_same() -> None:
    it = _push(durable=False, expires_ms=_NOW + 500)
    settlement = Settlement({"a": Fate.OFFLINE}, (), {}, {}, 0)
    verdict = decide(it, settlement, max_attempts=8, now_ms=_NOW)
    assert postponed(it, settlement, verdict, now_ms=_NOW) == verdict


def test_a_receipt_is_told_of_endings_with_reason_and_place_and_of_nothing_that_sessions_got() -> None:
    it = _push("a", "b", "c", "d")
    fates = {"a": Fate.DELIVERED, "b": Fate.QUEUED, "c": Fate.CANCELLED, "d": Fate.OFFLINE}
    [step] = steps(it, fates, {"d": "n2: down"}, _NOW)
    assert (step.key, step.to, step.at_ms, step.reason, step.place) == ("d", "offline", _NOW, "n2: down", _PLACES["d"])


@pytest.mark.parametrize("durable", [True, False])
def test_sessions_too_slow_are_offline_for_what_is_stored_and_a_failure_for_what_is_not(durable: bool) -> None:
    it = _push(durable=durable)
    verdict = decide(it, Settlement({"a": Fate.SLOW}, (), {}, {"a": "too slow"}, 0), max_attempts=8, now_ms=_NOW)
    [step] = steps(it, verdict.fates, {"a": "too slow"}, _NOW)
    assert (step.to, step.reason) == ("offline" if durable else "failed", "too slow")


@given(
    fates=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(Fate)),
    attempt=st.integers(0, 9),
    durable=st.booleans(),
    away=st.booleans(),
    late_ms=st.integers(-700_000, 700_000),
)
def test_every_key_ends_or_goes_on_and_never_both(
    fates: dict[str, Fate], attempt: int, durable: bool, away: bool, late_ms: int
) -> None:
    left = tuple(key for key in "abcd" if key not in fates)
    it = _push(*"abcd", durable=durable, attempt=attempt)
    settlement = Settlement(fates, left, dict.fromkeys(left, ()), {}, 0, away=away)
    verdict = decide(it, settlement, max_attempts=8, now_ms=_NOW + late_ms)
    for one in (verdict, postponed(it, settlement, verdict, now_ms=_NOW + late_ms)):
        later = one.later.keys if one.later is not None else ()
        assert sorted([*one.fates, *later]) == list("abcd")
        assert not (durable and one.dead)
    if postponed(it, settlement, verdict, now_ms=_NOW + late_ms) is not verdict:
        assert not set(one.fates.values()) & set(ENDS), "the receipt is not told, so nothing of it may end"
