"""What a request_id guarantees, on real servers: one push, whoever dies between which steps."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from store.requests import Claim, ClaimKind
from tests.parts.kept import HOUR_MS, Kept, open_kept

pytestmark = pytest.mark.services

_MINE, _DONE, _BUSY, _CONFLICT = ClaimKind
_TAKEOVER_MS = 100
_ODD = ["r1", "R1", "{r1}", "r 1", "用户", "%7Br1%7D", "x" * 128]


@pytest.fixture(params=["redis", "valkey"])
def kept(request: pytest.FixtureRequest) -> Kept:
    return open_kept(request.getfixturevalue(request.param), takeover_s=_TAKEOVER_MS / 1000)


def _done(kept: Kept, claim: Claim, request_id: str = "r1") -> int:
    answer: int = kept.run(lambda batch: kept.requests.done(batch, request_id, claim.claim))[0]
    return answer


def _release(kept: Kept, claim: Claim) -> int:
    answer: int = kept.run(lambda batch: kept.requests.release(batch, "r1", claim.claim))[0]
    return answer


def _overtake(kept: Kept) -> Claim:
    """Claim as somebody does after the holder has been silent for too long."""
    kept.wait_ms(kept.now_ms() + _TAKEOVER_MS)
    claim = kept.requests.claim("r1", "d", "other")
    assert (claim.kind, claim.push_id, claim.again) == (_MINE, "p1", True)
    return claim


def test_a_request_is_claimed_once_then_it_is_busy_and_then_it_is_done(kept: Kept) -> None:
    mine = kept.requests.claim("r1", "d", "p1")
    assert (mine.kind, mine.push_id, mine.again) == (_MINE, "p1", False)
    assert kept.requests.claim("r1", "d", "p2") == Claim(_BUSY, "p1")
    assert _done(kept, mine) == 1
    assert kept.requests.claim("r1", "d", "p3") == Claim(_DONE, "p1")
    kept.wait_ms(kept.now_ms() + _TAKEOVER_MS)
    assert kept.requests.claim("r1", "d", "p3") == Claim(_DONE, "p1")


def test_another_body_under_the_same_id_is_a_conflict_at_every_stage(kept: Kept) -> None:
    mine = kept.requests.claim("r1", "d", "p1")
    assert kept.requests.claim("r1", "e", "p2") == Claim(_CONFLICT, "p1")
    kept.wait_ms(kept.now_ms() + _TAKEOVER_MS)
    assert kept.requests.claim("r1", "e", "p2") == Claim(_CONFLICT, "p1")
    _release(kept, mine)
    assert kept.requests.claim("r1", "e", "p2") == Claim(_CONFLICT, "p1")
    _done(kept, mine)
    assert kept.requests.claim("r1", "e", "p2") == Claim(_CONFLICT, "p1")


def test_no_request_is_taken_for_another(kept: Kept) -> None:
    for number, request_id in enumerate(_ODD):
        assert kept.requests.claim(request_id, "d", f"p{number}").push_id == f"p{number}"
    for number, request_id in enumerate(_ODD):
        assert kept.requests.claim(request_id, "d", "new") == Claim(_BUSY, f"p{number}")


def test_of_many_that_claim_at_once_one_gets_it_and_all_learn_its_push_id(kept: Kept) -> None:
    threads = 16
    barrier = Barrier(threads)

    def claim(number: int) -> Claim:
        barrier.wait()
        got = kept.requests.claim("r1", "d", f"p{number}")
        if got.kind is _MINE:
            _done(kept, got)
        return got

    with ThreadPoolExecutor(threads) as pool:
        claims = list(pool.map(claim, range(threads)))
    assert len({claim.push_id for claim in claims}) == 1
    kinds = Counter(claim.kind for claim in claims)
    assert kinds[_MINE] == 1
    assert kinds[_BUSY] + kinds[_DONE] == threads - 1


def test_of_many_that_take_over_at_once_one_gets_it(kept: Kept) -> None:
    kept.requests.claim("r1", "d", "p1")
    kept.wait_ms(kept.now_ms() + _TAKEOVER_MS)
    barrier = Barrier(8)

    def claim(number: int) -> Claim:
        barrier.wait()
        return kept.requests.claim("r1", "d", f"q{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(claim, range(8)))
    assert [claim.push_id for claim in claims] == ["p1"] * 8
    assert Counter(claim.kind for claim in claims) == {_MINE: 1, _BUSY: 7}


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_whoever_claims_and_dies_is_followed_by_another_with_the_same_push_id(kept: Kept, deaths: int) -> None:
    kept.requests.claim("r1", "d", "p1")
    for _ in range(deaths):
        last = _overtake(kept)
        assert kept.requests.claim("r1", "d", "p9").kind is _BUSY
    assert kept.requests.take("r1", last.claim)
    assert _done(kept, last) == 1


def test_whoever_publishes_and_dies_before_it_says_so_leaves_a_request_that_is_done_once_its_task_arrives(
    kept: Kept,
) -> None:
    mine = kept.requests.claim("r1", "d", "p1")
    assert kept.requests.take("r1", mine.claim)
    assert kept.requests.claim("r1", "d", "p2") == Claim(_DONE, "p1")
    _release(kept, mine)  # the broker had it, and its answer did not come
    assert kept.requests.claim("r1", "d", "p2") == Claim(_DONE, "p1")


def test_a_request_that_was_given_back_goes_on_at_once_under_the_same_push_id(kept: Kept) -> None:
    mine = kept.requests.claim("r1", "d", "p1")
    assert _release(kept, mine) == 1
    again = kept.requests.claim("r1", "d", "p2")
    assert (again.kind, again.push_id, again.again) == (_MINE, "p1", True)
    assert kept.requests.claim("r1", "d", "p3").kind is _BUSY


def test_only_the_holder_gives_a_claim_back_and_nobody_gives_back_what_is_done(kept: Kept) -> None:
    slow = kept.requests.claim("r1", "d", "p1")
    holder = _overtake(kept)
    assert _release(kept, slow) == 0
    assert kept.requests.claim("r1", "d", "p2").kind is _BUSY
    assert _done(kept, slow) == 1, "the slow one did carry it out"
    _release(kept, holder)
    assert kept.requests.claim("r1", "d", "p2") == Claim(_DONE, "p1")


def test_of_two_tasks_of_one_request_the_first_that_arrives_is_dispatched_however_often_it_comes(kept: Kept) -> None:
    slow = kept.requests.claim("r1", "d", "p1")
    quick = _overtake(kept)
    assert kept.requests.take("r1", quick.claim)
    assert not kept.requests.take("r1", slow.claim)
    assert kept.requests.take("r1", quick.claim), "its worker died: the same task comes again"
    assert not kept.requests.take("r1", slow.claim)


def test_of_many_tasks_that_arrive_at_once_one_is_dispatched(kept: Kept) -> None:
    claims = [kept.requests.claim("r1", "d", "p1"), *(_overtake(kept) for _ in range(3))]
    barrier = Barrier(len(claims))

    def take(claim: Claim) -> bool:
        barrier.wait()
        return kept.requests.take("r1", claim.claim)

    with ThreadPoolExecutor(len(claims)) as pool:
        assert Counter(pool.map(take, claims)) == {True: 1, False: len(claims) - 1}


def test_a_store_that_lost_the_request_dispatches_its_task_and_knows_a_second_one(kept: Kept) -> None:
    assert kept.requests.take("r1", "p1.aa")
    assert not kept.requests.take("r1", "p1.bb")
    assert kept.requests.take("r1", "p1.aa")
    left = kept.client.pttl(f"{kept.settings.store_namespace}:request:{{r1}}")
    assert 0 < left <= 24 * HOUR_MS


def test_a_request_that_begins_anew_has_nothing_to_do_with_the_push_that_was_lost(kept: Kept) -> None:
    lost = Claim(_MINE, "p1", "p1.aa")
    kept.requests.take("r1", lost.claim)
    anew = kept.requests.claim("r1", "d", "p2")
    assert (anew.kind, anew.push_id, anew.again) == (_MINE, "p2", False)
    assert _done(kept, lost) == 0
    assert kept.requests.take("r1", lost.claim), "it was promised, too"
    assert kept.requests.claim("r1", "d", "p3").kind is _BUSY
    assert kept.requests.take("r1", anew.claim)


def test_what_nobody_claimed_is_neither_done_nor_given_back(kept: Kept) -> None:
    nobody = Claim(_MINE, "p1", "p1.aa")
    assert (_done(kept, nobody), _release(kept, nobody)) == (0, 0)
    assert kept.requests.claim("r1", "d", "p2").again is False


def test_a_request_is_kept_for_a_day_from_its_first_claim(kept: Kept) -> None:
    name = f"{kept.settings.store_namespace}:request:{{r1}}"
    mine = kept.requests.claim("r1", "d", "p1")
    ends_ms = kept.client.pexpiretime(name)
    assert 0 < ends_ms - kept.now_ms() <= 24 * HOUR_MS
    _release(kept, mine)
    _done(kept, kept.requests.claim("r1", "d", "p2"))
    kept.requests.take("r1", mine.claim)
    assert kept.client.pexpiretime(name) == ends_ms


def test_a_clock_that_went_back_does_not_hold_a_request_up(kept: Kept) -> None:
    kept.requests.claim("r1", "d", "p1")
    kept.client.hset(f"{kept.settings.store_namespace}:request:{{r1}}", "since", kept.now_ms() + HOUR_MS)
    assert kept.requests.claim("r1", "d", "p2").kind is _MINE


def test_a_takeover_takes_three_seconds_where_nobody_says_otherwise(redis: str) -> None:
    kept = open_kept(redis)
    kept.requests.claim("r1", "d", "p1")
    name = f"{kept.settings.store_namespace}:request:{{r1}}"
    for age_ms, kind in ((2_000, _BUSY), (3_000, _MINE)):
        kept.client.hset(name, "since", kept.now_ms() - age_ms)
        assert kept.requests.claim("r1", "d", "p2").kind is kind


def test_claims_of_one_round_trip_are_made_in_their_order(kept: Kept) -> None:
    first, other, second, conflict = kept.requests.claims(
        [("r1", "d", "p1"), ("r2", "d", "p2"), ("r1", "d", "p3"), ("r1", "e", "p4")]
    )
    assert (first.kind, first.push_id, other.kind, other.push_id) == (_MINE, "p1", _MINE, "p2")
    assert (second, conflict) == (Claim(_BUSY, "p1"), Claim(_CONFLICT, "p1"))
    assert kept.requests.claims([]) == []
