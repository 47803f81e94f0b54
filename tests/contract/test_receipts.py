"""What a receipt guarantees, on real servers; tests/properties/test_receipts.py drives it at random."""

from dataclasses import replace

import pytest

from proto.message import Place, Push
from store.receipts import Mark, Owner, State, Step
from store.states import TRANSITIONS, KeyReceipt
from tests.parts.kept import HOUR_MS, Kept

pytestmark = pytest.mark.services

_ODD = ["a", "A", "k:a", "a,b", "{a}", "a b", "é", "用户", "room:live://1000", "all", "%s,%d", "x" * 256]


def _states(kept: Kept, push_id: str) -> dict[str, State]:
    return {key: one.state for key, one in kept.receipt(push_id).keys.items()}


def test_a_receipt_tells_what_the_push_was_and_that_nothing_has_become_of_it_yet(kept: Kept) -> None:
    push = kept.push("p1", *_ODD)
    assert kept.create(push) == 1
    receipt = kept.receipt("p1")
    assert (receipt.push_id, receipt.op, receipt.priority, receipt.durable) == ("p1", 9, push.priority, True)
    assert (receipt.accepted_ms, receipt.not_before_ms, receipt.expires_ms) == (push.accepted_ms, 0, push.expires_ms)
    assert dict(receipt.keys) == {key: KeyReceipt(State.ACCEPTED) for key in sorted(_ODD)}
    assert Push.from_payload(kept.receipts.payload("p1") or {}) == push


def test_creating_a_receipt_again_changes_nothing(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, push.accepted_ms + 5)
    before = kept.receipt("p1")
    assert kept.create(replace(push, keys=("a", "b"), accepted_ms=1)) == 0
    assert kept.receipt("p1") == before
    assert kept.receipts.payload("p1") is None, "a worker has had it"


@pytest.mark.parametrize("state", sorted(set(State) - {State.SCHEDULED, State.ACCEPTED}))
def test_a_receipt_begins_as_scheduled_or_accepted_only(kept: Kept, state: State) -> None:
    with pytest.raises(ValueError, match="begins"):
        kept.create(kept.push("p1", "a"), state)


@pytest.mark.parametrize(
    ("changes", "asked", "traced"),
    [
        ({"durable": True}, False, False),
        ({"durable": True}, True, True),
        ({"durable": False}, False, True),
        ({"durable": False, "not_before_ms": 5}, False, False),
        ({"durable": False, "not_before_ms": 5}, True, True),
    ],
)
def test_a_push_that_is_recorded_for_no_other_reason_is_traced(
    kept: Kept, changes: dict[str, object], asked: bool, traced: bool
) -> None:
    kept.create(kept.push("p1", "a", **changes), traced=asked)
    assert kept.receipt("p1").traced is traced


def test_a_receipt_is_kept_until_its_time_after_the_push_has_expired(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    name = f"{kept.settings.store_namespace}:receipt:{{p1}}"
    assert kept.client.pexpiretime(name) == push.expires_ms + kept.settings.receipt_ttl_s * 1000

    kept.create(kept.push("p2", "a", expires_ms=0, not_before_ms=kept.now_ms() + HOUR_MS))
    left = kept.client.pttl(name.replace("p1", "p2"))
    assert 0 < left - kept.settings.receipt_ttl_s * 1000 <= HOUR_MS


def test_a_push_is_dispatched_to_its_keys_and_leaves_the_pending_ones(kept: Kept) -> None:
    push = kept.push("p1", "a", "b")
    kept.run(
        lambda batch: kept.pending.add(batch, "p1", push.accepted_ms),
        lambda batch: kept.receipts.create(batch, push, State.ACCEPTED),
    )
    assert kept.pending.due(9) == ["p1"]
    placed = replace(push, places={"a": Place("e1", 7), "b": Place("e1", 1)})
    told = kept.receipts.dispatch(placed, push.accepted_ms + 5)
    assert (told.go, dict(told.ended)) == (("a", "b"), {})
    assert kept.pending.due(9) == []
    assert kept.receipts.payload("p1") is None
    dispatched_ms = push.accepted_ms + 5
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.DISPATCHED, dispatched_ms, place=Place("e1", 7))

    assert kept.receipts.dispatch(placed, push.accepted_ms + 9).go == ("a", "b"), "another attempt"
    assert kept.receipt("p1").keys["a"].dispatched_ms == dispatched_ms


def test_a_push_without_a_receipt_goes_to_all_its_keys_and_gets_none(kept: Kept) -> None:
    assert kept.receipts.dispatch(kept.push("lost", "a", "b"), 1).go == ("a", "b")
    assert kept.receipts.get("lost") is None
    assert kept.client.exists(f"{kept.settings.store_namespace}:receipt:{{lost}}") == 0


def test_what_has_ended_is_not_dispatched_and_what_was_handed_over_is_since_another_node_may_lack_it(
    kept: Kept,
) -> None:
    ways: dict[str, list[tuple[Owner, State]]] = {
        "emitted": [(Owner.CLOUD, State.EMITTED)],
        "acked": [(Owner.CLOUD, State.EMITTED), (Owner.CLOUD, State.ACKED)],
        "offline": [(Owner.JOB, State.OFFLINE)],
        "failed": [(Owner.JOB, State.FAILED)],
        "filtered": [(Owner.JOB, State.FILTERED)],
        "expired": [(Owner.JOB, State.EXPIRED)],
        "cancelled": [(Owner.LOGIC, State.CANCELLED)],
    }
    push = kept.push("p1", *ways)
    kept.create(push)
    kept.receipts.dispatch(push, 1)
    for key, steps in ways.items():
        for owner, to in steps:
            assert kept.advance("p1", owner, Step(key, to, 2)) == [1]
    told = kept.receipts.dispatch(push, 3)
    assert told.go == ("emitted", "acked", "offline", "failed")
    assert dict(told.ended) == {key: State(key) for key in ("filtered", "expired", "cancelled")}
    assert {key for key, state in _states(kept, "p1").items() if state is State.DISPATCHED} == {"offline", "failed"}
    assert kept.receipt("p1").keys["offline"] == KeyReceipt(State.DISPATCHED, dispatched_ms=3)


def test_each_step_leads_from_each_state_where_the_table_says_and_for_its_owner_only(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    name = f"{kept.settings.store_namespace}:receipt:{{p1}}"
    letters = {"scheduled": "s", "accepted": "a", "dispatched": "d", "emitted": "e", "acked": "k"}
    letters |= {"offline": "o", "filtered": "f", "expired": "x", "cancelled": "c", "failed": "g"}
    for before in State:
        for to in State:
            for owner in Owner:
                was = f"{letters[before]},11,12,13,14,2,1,7,e1,why"
                kept.client.hset(name, "k:a", was)
                legal = TRANSITIONS.get((before, to)) is owner
                assert kept.advance("p1", owner, Step("a", to, 99)) == [int(legal)], (before, to, owner)
                late = before is State.ACKED and to is State.EMITTED
                expected = to if legal and not late else before
                assert kept.receipt("p1").keys["a"].state is expected, (before, to, owner)
                if not legal:
                    assert kept.client.hget(name, "k:a") == was


def test_a_receipt_adds_up_what_several_nodes_say_and_keeps_the_first_times(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 30, 2, place=Place("e1", 4)), mark=Mark("n1", 1))
    kept.advance("p1", Owner.CLOUD, Step("a", State.ACKED, 40, 1), mark=Mark("n1", 2))
    kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 20, 3), mark=Mark("n2", 1))
    kept.advance("p1", Owner.CLOUD, Step("a", State.ACKED, 50, 2), mark=Mark("n2", 2))
    told = KeyReceipt(State.ACKED, 10, emitted_ms=20, acked_ms=40, sessions=5, acks=3, place=Place("e1", 4))
    assert kept.receipt("p1").keys["a"] == told


def test_a_batch_that_is_sent_again_under_its_number_counts_once(kept: Kept) -> None:
    push = kept.push("p1", "a", "b")
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    steps = (Step("a", State.EMITTED, 30, 2), Step("a", State.ACKED, 31, 1), Step("b", State.EMITTED, 30, 1))
    for _ in range(2):
        assert kept.advance("p1", Owner.CLOUD, *steps, mark=Mark("n1", 7)) == [1, 1, 1]
    counts = {key: (one.sessions, one.acks) for key, one in kept.receipt("p1").keys.items()}
    assert counts == {"a": (2, 1), "b": (1, 0)}
    kept.advance("p1", Owner.CLOUD, *steps, mark=Mark("n1", 8))
    kept.advance("p1", Owner.CLOUD, *steps, mark=Mark("n2", 7))
    assert kept.receipt("p1").keys["a"].sessions == 6, "other batches count"


def test_an_ack_that_comes_first_tells_that_it_was_emitted(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    assert kept.advance("p1", Owner.CLOUD, Step("a", State.ACKED, 40, 1)) == [1]
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.ACKED, 10, 40, 40, acks=1)
    kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 30, 1))
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.ACKED, 10, 30, 40, sessions=1, acks=1)


def test_a_reason_is_kept_as_it_was_given_as_far_as_it_fits_and_goes_with_its_ending(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    reason = "h:1: refused, (why?)\n{x}é" * 20
    kept.advance("p1", Owner.JOB, Step("a", State.FAILED, 20, reason=reason))
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.FAILED, 10, ended_ms=20, reason=reason[:200])
    kept.receipts.dispatch(push, 30)
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.DISPATCHED, 30)


def test_no_step_makes_a_receipt_or_a_key_that_is_not_there(kept: Kept) -> None:
    kept.create(kept.push("p1", "a"))
    before = kept.receipt("p1")
    step = Step("b", State.FAILED, 1)
    assert kept.advance("p1", Owner.JOB, step, mark=Mark("w", 1)) == [0]
    assert kept.advance("none", Owner.JOB, step, mark=Mark("w", 1)) == [0]
    assert kept.advance("p1", Owner.JOB) == []
    assert kept.receipt("p1") == before
    assert kept.receipts.get("none") is None
    assert kept.client.exists(f"{kept.settings.store_namespace}:receipt:{{none}}") == 0


def test_a_receipt_that_was_withdrawn_is_gone(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    assert kept.run(lambda batch: kept.receipts.forget(batch, "p1")) == [1]
    assert kept.run(lambda batch: kept.receipts.forget(batch, "p1")) == [0]
    assert kept.receipts.get("p1") is None
    assert kept.receipts.payload("p1") is None
    assert kept.receipts.cancel("p1", 5) is None


def test_a_thousand_keys_fit_one_receipt(kept: Kept) -> None:
    keys = [f"用户-{number}" for number in range(1000)]
    push = kept.push("p1", *keys)
    kept.create(push)
    placed = replace(push, places={key: Place("e1", number + 1) for number, key in enumerate(keys)})
    assert kept.receipts.dispatch(placed, 10).go == tuple(keys)
    steps = [Step(key, State.EMITTED, 20, 1) for key in keys] + [Step(key, State.ACKED, 30, 1) for key in keys]
    assert kept.advance("p1", Owner.CLOUD, *steps) == [1] * 2000
    receipt = kept.receipt("p1")
    assert receipt.state is State.ACKED
    assert receipt.keys["用户-41"] == KeyReceipt(State.ACKED, 10, 20, 30, sessions=1, acks=1, place=Place("e1", 42))
    assert len(receipt.keys) == 1000


def test_a_cancel_takes_back_what_nobody_has_and_says_what_is_too_late(kept: Kept) -> None:
    push = kept.push("p1", "new", "handed", "acked", "stored", "filtered", "failed")
    kept.create(push)
    kept.receipts.dispatch(push.only(push.keys[1:]), 10)
    kept.advance("p1", Owner.CLOUD, Step("handed", State.EMITTED, 20), Step("acked", State.ACKED, 20))
    steps = [Step(key, to, 20) for key, to in (("stored", State.OFFLINE), ("filtered", State.FILTERED))]
    kept.advance("p1", Owner.JOB, *steps, Step("failed", State.FAILED, 20))
    told = kept.receipts.cancel("p1", 30)
    for _ in range(2):
        assert told is not None
        assert (told.cancelled, told.durable) == (("filtered", "new", "stored"), True)
        assert dict(told.too_late) == {"handed": State.EMITTED, "acked": State.ACKED, "failed": State.FAILED}
        assert kept.receipt("p1").keys["stored"] == KeyReceipt(State.CANCELLED, 10, ended_ms=30)
        told = kept.receipts.cancel("p1", 40)


def test_what_is_cancelled_is_not_published_again_and_its_task_is_told(kept: Kept) -> None:
    push = kept.push("p1", "a", "b", not_before_ms=kept.now_ms() + HOUR_MS)
    kept.create(push, State.SCHEDULED)
    kept.run(lambda batch: kept.pending.add(batch, "p1", 1))
    kept.receipts.cancel("p1", 30)
    assert kept.pending.due(9) == []
    assert kept.receipts.payload("p1") is None
    told = kept.receipts.dispatch(push, 40)
    assert (told.go, dict(told.ended)) == ((), {"a": State.CANCELLED, "b": State.CANCELLED})


def test_an_emit_that_was_under_way_when_the_push_was_cancelled_is_told_truly(kept: Kept) -> None:
    push = kept.push("p1", "a")
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    kept.receipts.cancel("p1", 20)
    kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 19, 1))
    assert kept.receipt("p1").keys["a"] == KeyReceipt(State.EMITTED, 10, 19, sessions=1)


def test_an_ephemeral_push_that_came_to_nobody_cannot_be_cancelled(kept: Kept) -> None:
    push = kept.push("p1", "a", "b", "c", durable=False)
    kept.create(push)
    kept.receipts.dispatch(push, 10)
    kept.advance("p1", Owner.JOB, Step("a", State.OFFLINE, 20), Step("b", State.FILTERED, 20))
    told = kept.receipts.cancel("p1", 30)
    assert told is not None
    assert (told.cancelled, told.durable) == (("c",), False)
    assert dict(told.too_late) == {"a": State.OFFLINE, "b": State.FILTERED}


def test_what_has_expired_is_too_late_to_cancel(kept: Kept) -> None:
    push = kept.push("p1", "a", "b")
    kept.create(push)
    kept.receipts.dispatch(push.only(["b"]), 10)
    kept.advance("p1", Owner.CLOUD, Step("b", State.EMITTED, 20))
    told = kept.receipts.cancel("p1", push.expires_ms)
    assert told is not None
    assert (told.cancelled, dict(told.too_late)) == ((), {"a": State.EXPIRED, "b": State.EMITTED})
