"""Whoever steps, in whatever order, twice or too late: a receipt goes only where the table lets it.

Tiers, their steps, retries and steps that arrive late are drawn at random against a real Redis, beside a model that
knows the table and nothing of scripts.  Times go back and forth, as they do between machines.
"""

import uuid
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proto.message import Place, Push
from store.receipts import Mark, Owner, State, Step
from store.states import ENDINGS, HANDED, TRANSITIONS, KeyReceipt, after
from tests.parts.kept import Kept, open_kept

pytestmark = pytest.mark.services

_KEYS = ("a", "room:b", "k:,c", "d", "用户", "{f}", "all", "%s")
_BEGINNINGS = st.sampled_from([State.SCHEDULED, State.ACCEPTED])
_TIMES = st.integers(1, 99)
_PLACES = st.none() | st.builds(Place, st.sampled_from(["e1", "e2"]), st.integers(1, 9))
_OWN = {owner: sorted({to for (_, to), by in TRANSITIONS.items() if by is owner}) for owner in Owner}


def _steps(owner: Owner) -> st.SearchStrategy[list[Step]]:
    """Steps of one owner: mostly such as it may make at times."""
    step = st.builds(
        Step,
        st.sampled_from((*_KEYS, "stranger")),
        st.sampled_from(_OWN[owner] * 4 + list(State)),
        _TIMES,
        st.integers(0, 3),
        st.sampled_from(["", "why, oh why"]),
        _PLACES,
    )
    return st.lists(step, min_size=2, max_size=6, unique_by=lambda one: one.key)


# Owner and steps, who writes them, and whether they are sent twice.
_Drawn = tuple[tuple[Owner, list[Step]], str, bool]
_BATCHES = st.tuples(
    st.sampled_from((*Owner, Owner.JOB, Owner.JOB)).flatmap(lambda owner: st.tuples(st.just(owner), _steps(owner))),
    st.sampled_from(["n1", "n2"]),
    st.booleans(),
)


@dataclass
class _Sent:
    """A batch of steps as somebody sent it, to be sent again."""

    owner: Owner
    steps: list[Step]
    mark: Mark


class ReceiptMachine(RuleBasedStateMachine):
    kept: ClassVar[Kept]

    def __init__(self) -> None:
        super().__init__()
        self.numbers = {"n1": 0, "n2": 0}

    @initialize(state=_BEGINNINGS, durable=st.booleans())
    def begins(self, state: State, durable: bool) -> None:
        self.push_id = f"p{uuid.uuid4().hex[:12]}"
        self.push = self.kept.push(self.push_id, *_KEYS, durable=durable)
        self.kept.run(
            lambda batch: self.kept.pending.add(batch, self.push_id, 1),
            lambda batch: self.kept.receipts.create(batch, self.push, state),
        )
        self.model = dict.fromkeys(_KEYS, KeyReceipt(state))
        self.seen = dict.fromkeys(_KEYS, state)
        self.by: set[Owner] = set()
        self.batches: list[_Sent] = []
        self.counted: dict[str, int] = {}
        self.payload = True

    @rule(state=_BEGINNINGS, durable=st.booleans())
    def another_push_begins(self, state: State, durable: bool) -> None:
        self.begins(state, durable)

    @rule(state=_BEGINNINGS)
    def begins_again_after_a_crash(self, state: State) -> None:
        made = self.kept.create(self.push, state)
        assert made == (not self.model)
        if made:
            self.model = dict.fromkeys(_KEYS, KeyReceipt(state))
            self.seen = dict.fromkeys(_KEYS, state)
            self.payload = True

    @rule(batches=st.lists(_BATCHES, min_size=1, max_size=8))
    def tiers_step(self, batches: list[_Drawn]) -> None:
        for (owner, steps), writer, twice in batches:
            self.numbers[writer] += 1
            sent = _Sent(owner, steps, Mark(writer, self.numbers[writer]))
            self.batches.append(sent)
            answers = self._sends(sent)
            if twice:  # as whoever got no answer does
                before = self.kept.receipts.get(self.push_id)
                assert self._sends(sent) == answers
                assert self.kept.receipts.get(self.push_id) == before

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 50))
    def an_old_batch_arrives_again_and_late(self, which: int) -> None:
        self._sends(self.batches[which % len(self.batches)])

    def _sends(self, sent: _Sent) -> list[int]:
        writer, number = sent.mark
        counts = number > self.counted.get(writer, 0)
        answers = self.kept.advance(self.push_id, sent.owner, *sent.steps, mark=sent.mark)
        assert answers == [int(self._model_step(sent.owner, step, counts=counts)) for step in sent.steps]
        if any(answers) and counts:
            self.counted[writer] = number
        return answers

    @rule(keys=st.sets(st.sampled_from(_KEYS), min_size=1), at_ms=_TIMES, place=_PLACES)
    def a_task_arrives(self, keys: set[str], at_ms: int, place: Place | None) -> None:
        push = self.push.only(sorted(keys))
        push = push if place is None else replace(push, places=dict.fromkeys(push.keys, place))
        told = self.kept.receipts.dispatch(push, at_ms)
        for key in push.keys:
            self._model_step(Owner.JOB, Step(key, State.DISPATCHED, at_ms, place=place))
        over = {State.FILTERED, State.EXPIRED, State.CANCELLED}
        ended = {key: self.model[key].state for key in push.keys if self.model and self.model[key].state in over}
        assert dict(told.ended) == ended
        assert told.go == tuple(key for key in push.keys if key not in ended)
        assert self.kept.client.zscore(f"{self.kept.settings.store_namespace}:{{pending}}:due", self.push_id) is None
        self.payload = False

    @rule(at_ms=_TIMES)
    def its_caller_cancels(self, at_ms: int) -> None:
        told = self.kept.receipts.cancel(self.push_id, at_ms)
        if not self.model:
            assert told is None
            return
        assert told is not None
        for key, one in self.model.items():
            if self.push.durable or one.state not in ENDINGS:
                self._model_step(Owner.LOGIC, Step(key, State.CANCELLED, at_ms))
        states = {key: one.state for key, one in self.model.items()}
        assert told.cancelled == tuple(sorted(key for key in states if states[key] is State.CANCELLED))
        assert dict(told.too_late) == {key: states[key] for key in states if key not in told.cancelled}
        self.payload = False

    @precondition(lambda self: not any(one.state in HANDED for one in self.model.values()))
    @rule()
    def it_is_withdrawn(self) -> None:
        assert self.kept.run(lambda batch: self.kept.receipts.forget(batch, self.push_id)) == [int(bool(self.model))]
        self.model, self.seen, self.counted, self.payload = {}, {}, {}, False
        self.by.clear()

    @rule()
    def the_store_forgets_its_scripts(self) -> None:
        self.kept.client.script_flush()

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        receipt = self.kept.receipts.get(self.push_id)
        assert (dict(receipt.keys) if receipt else {}) == self.model
        payload = self.kept.receipts.payload(self.push_id)
        assert (payload is not None) == self.payload
        if payload is not None:
            assert Push.from_payload(payload) == self.push

    @invariant()
    def no_key_went_where_the_table_does_not_lead(self) -> None:
        receipt = self.kept.receipts.get(self.push_id)
        for key, one in (receipt.keys if receipt else {}).items():
            assert one.state in _reachable(self.seen[key], self.by), f"{key}: {self.seen[key]} → {one.state}"
            if self.seen[key] in HANDED:
                assert one.state in HANDED
            self.seen[key] = one.state
        self.by.clear()

    def _model_step(self, owner: Owner, step: Step, *, counts: bool = True) -> bool:
        self.by.add(owner)
        was = self.model.get(step.key)
        if was is None or TRANSITIONS.get((was.state, step.to)) is not owner:
            return False
        now = replace(was, state=after(was.state, step.to), place=step.place or was.place)
        if step.to in ENDINGS:
            if was.state is not step.to:
                now = replace(now, ended_ms=step.at_ms, reason=step.reason)
        else:
            now = replace(now, ended_ms=0, reason="")
        count = step.sessions if counts else 0
        if step.to is State.DISPATCHED and was.state is not State.DISPATCHED:
            now = replace(now, dispatched_ms=step.at_ms)
        if step.to in HANDED:
            now = replace(now, emitted_ms=min(was.emitted_ms or step.at_ms, step.at_ms))
        if step.to is State.EMITTED:
            now = replace(now, sessions=was.sessions + count)
        if step.to is State.ACKED:
            now = replace(now, acks=was.acks + count, acked_ms=min(was.acked_ms or step.at_ms, step.at_ms))
        self.model[step.key] = now
        return True


def _reachable(begin: State, owners: set[Owner]) -> set[State]:
    """Where these owners, and only they, can lead from *begin*."""
    found = {begin}
    while more := {
        to for (before, to), owner in TRANSITIONS.items() if before in found and owner in owners and to not in found
    }:
        found |= more
    return found


def test_a_receipt_goes_only_where_the_table_lets_it(redis: str) -> None:
    ReceiptMachine.kept = open_kept(redis)
    run_state_machine_as_test(
        ReceiptMachine, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )
