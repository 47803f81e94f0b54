"""What the pending pushes guarantee, on real servers."""

import pytest

from tests.parts.kept import HOUR_MS, Kept

pytestmark = pytest.mark.services


def test_what_is_due_comes_longest_due_first_and_no_more_than_asked_for(kept: Kept) -> None:
    now_ms = kept.now_ms()
    kept.run(
        lambda batch: kept.pending.add(batch, "late", now_ms - 10),
        lambda batch: kept.pending.add(batch, "later", now_ms - 20),
        lambda batch: kept.pending.add(batch, "not yet", now_ms + HOUR_MS),
    )
    assert kept.pending.due(9) == ["later", "late"]
    assert kept.pending.due(1) == ["later"]


def test_what_is_due_is_told_by_the_stores_own_clock(kept: Kept) -> None:
    due_ms = kept.now_ms() + 50
    kept.run(lambda batch: kept.pending.add(batch, "p1", due_ms))
    kept.clock._ahead_ms += HOUR_MS  # a clock of ours that is an hour ahead
    early = kept.pending.due(1)
    assert early == [] or kept.now_ms() >= due_ms
    kept.wait_ms(due_ms)
    assert kept.pending.due(1) == ["p1"]


def test_it_stays_until_it_is_removed(kept: Kept) -> None:
    kept.run(*(lambda batch, number=number: kept.pending.add(batch, f"p{number}", number) for number in range(3)))
    assert kept.pending.due(9) == kept.pending.due(9) == ["p0", "p1", "p2"]
    assert kept.run(lambda batch: kept.pending.remove(batch, "p0", "p2", "none")) == [2]
    assert kept.run(kept.pending.remove) == [0]
    assert kept.pending.due(9) == ["p1"]


def test_a_push_that_is_postponed_is_due_then(kept: Kept) -> None:
    kept.run(lambda batch: kept.pending.add(batch, "p1", 1))
    assert kept.run(lambda batch: kept.pending.postpone(batch, "p1", kept.now_ms() + HOUR_MS)) == [1]
    assert kept.pending.due(9) == []
    assert kept.run(lambda batch: kept.pending.postpone(batch, "p1", 1)) == [1]
    assert kept.pending.due(9) == ["p1"]


def test_postponing_does_not_bring_back_what_was_removed(kept: Kept) -> None:
    kept.run(lambda batch: kept.pending.add(batch, "p1", 1))
    kept.run(lambda batch: kept.pending.remove(batch, "p1"))
    assert kept.run(lambda batch: kept.pending.postpone(batch, "p1", 1)) == [0]
    assert kept.pending.due(9) == []


def test_one_owner_leads_until_its_lease_is_over(kept: Kept) -> None:
    assert kept.pending.lead("one", 0.2)
    assert not kept.pending.lead("other", 0.2)
    assert kept.pending.lead("one", 0.2), "it may extend its own"
    assert not kept.pending.lead("other", 0.2)
    kept.wait_ms(kept.now_ms() + 200)
    assert kept.pending.lead("other", 60)
    assert not kept.pending.lead("one", 0.2)


def test_a_lease_that_is_extended_outlives_its_first_end(kept: Kept) -> None:
    assert kept.pending.lead("one", 0.1)
    assert kept.pending.lead("one", 60)
    kept.wait_ms(kept.now_ms() + 100)
    assert not kept.pending.lead("other", 60)
