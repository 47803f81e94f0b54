"""Before and after the nodes are asked: whoever dies, cancels or loses the store between two steps, on a real Redis."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from proto.errors import StoreUnavailable
from proto.message import Fate, Message, Push
from store.batch import Batch
from store.receipts import State, Step
from tasks.record import Begun, Record
from tasks.suspicion import Suspicion
from tests.parts.job import Store

pytestmark = pytest.mark.services

_STEPS = ("ask_take", "get_all", "append", "mark")


class _Between:
    """Calls *hook* before the step *name* of the thing that it wraps."""

    def __init__(self, wrapped: Any, name: str, hook: Callable[[], object]) -> None:
        self._wrapped, self._name, self._hook = wrapped, name, hook

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._hook()
        return getattr(self._wrapped, name)


@pytest.fixture
def store(redis: str) -> Iterator[Store]:
    store = Store(redis, f"t{uuid4().hex[:12]}")
    yield store
    store.client.close()


def _record(store: Store, step: str = "", hook: Callable[[], object] = lambda: None) -> Record:
    parts: list[Any] = [store.receipts, store.requests, store.pending, store.inbox]
    parts = [_Between(part, step, hook) for part in parts]
    return Record(store.client, parts[0], parts[1], parts[2], parts[3], store.clock, Suspicion(lambda: 0.0))


def _begin(record: Record, push: Push) -> Begun:
    (begun,) = record.begin([push])
    return begun


def _accepted(store: Store, *keys: str, claim: str = "", push_id: str = "01J0") -> Push:
    """A durable push without places, as the reconciler finds it."""
    now_ms = store.clock.now_ms()
    it = Push(push_id, keys, Message(9, b"null"), accepted_ms=now_ms, expires_ms=now_ms + 60_000)
    it = replace(it, durable=True, recorded=True, claim=claim, request_id="r" if claim else None)
    batch = Batch(store.client)
    store.pending.add(batch, it.push_id, now_ms)
    store.receipts.create(batch, it, State.ACCEPTED)
    batch.run()
    return it


def _fails() -> None:
    raise StoreUnavailable("the test says so")


@pytest.mark.parametrize("step", _STEPS)
def test_a_worker_that_dies_before_any_step_leaves_it_to_the_same_task_again(store: Store, step: str) -> None:
    claim = store.requests.claim("r", "digest", "01J0").claim
    it = _accepted(store, "a", "b", claim=claim)
    with pytest.raises(StoreUnavailable):
        _begin(_record(store, step, _fails), it)
    assert store.pending.due(10) == [it.push_id], "until it is dispatched, the reconciler has it too"
    for _ in range(2):
        begun = _begin(_record(store), it)
        assert begun.push is not None
        assert (begun.push.keys, {key: place.offset for key, place in begun.push.places.items()}) == (
            ("a", "b"),
            {"a": 1, "b": 1},
        )
    assert (store.kept("a"), store.kept("b")) == ([it.push_id], [it.push_id])
    assert store.pending.due(10) == []


@pytest.mark.parametrize("step", ["get_all", "append", "mark"])
def test_a_key_cancelled_before_any_step_is_neither_sent_nor_kept(store: Store, step: str) -> None:
    it = _accepted(store, "a")

    def cancel() -> None:
        store.receipts.cancel(it.push_id, store.clock.now_ms())
        batch = Batch(store.client)
        store.inbox.remove(batch, "a", it.push_id)
        batch.run()

    begun = _begin(_record(store, step, cancel), it)
    assert (begun.push, begun.ended) == (None, {"a": Fate.CANCELLED})
    assert store.kept("a") == []
    assert store.state(it.push_id, "a") is State.CANCELLED


def test_a_store_that_goes_away_before_a_cancelled_message_is_taken_back_is_asked_again(store: Store) -> None:
    it = _accepted(store, "a")
    calls = iter([lambda: store.receipts.cancel(it.push_id, store.clock.now_ms()), lambda: None])
    record = Record(
        store.client,
        store.receipts,
        store.requests,
        store.pending,
        _Between(_Between(store.inbox, "append", next(calls)), "remove", _fails),  # type: ignore[arg-type]
        store.clock,
        Suspicion(lambda: 0.0),
    )
    with pytest.raises(StoreUnavailable):
        _begin(record, it)
    assert store.kept("a") == [it.push_id]
    assert _begin(_record(store), it).ended == {"a": Fate.CANCELLED}
    assert store.kept("a") == []


def test_a_push_without_its_receipt_goes_to_all_its_keys(store: Store) -> None:
    it = _accepted(store, "a", "b")
    batch = Batch(store.client)
    store.receipts.forget(batch, it.push_id)
    batch.run()
    begun = _begin(_record(store), it)
    assert begun.push is not None
    assert begun.push.keys == ("a", "b")


def test_only_one_of_two_claims_goes_and_it_may_come_again(store: Store) -> None:
    claim = store.requests.claim("r", "digest", "01J0").claim
    it = _accepted(store, "a", claim=claim)
    assert _begin(_record(store), it).push is not None
    assert _begin(_record(store), replace(it, claim="01J0.other")).superseded
    assert not _begin(_record(store), it).superseded


def test_what_has_ended_is_written_once_and_pends_no_more(store: Store) -> None:
    it = _accepted(store, "a")
    for _ in range(2):
        _record(store).settle([(it, [Step("a", State.EXPIRED, store.clock.now_ms())])])
    assert store.state(it.push_id, "a") is State.EXPIRED
    assert store.pending.due(10) == []


def test_a_thousand_keys_are_appended_in_bounded_round_trips(store: Store) -> None:
    it = _accepted(store, *(f"k{number}" for number in range(1000)))
    begun = _begin(_record(store), it)
    assert begun.push is not None
    assert len(begun.push.places) == 1000
    assert store.kept("k999") == [it.push_id]


def test_pushes_that_begin_together_each_begin_as_they_would_alone(store: Store) -> None:
    claim = store.requests.claim("r", "digest", "01J0").claim
    store.requests.take("r", claim)
    mine, other = (
        replace(_accepted(store, "a", push_id=push_id), request_id="r", claim=its)
        for push_id, its in (("mine", claim), ("other", "01J0.other"))
    )
    plain = Push("plain", ("a",), Message(9, b"null"))
    cancelled = _accepted(store, "a", "b", push_id="cancelled")
    store.receipts.cancel(cancelled.push_id, store.clock.now_ms())
    begun = _record(store).begin([plain, other, cancelled, mine])
    assert [one.superseded for one in begun] == [False, True, False, False]
    assert [one.push and one.push.push_id for one in begun] == ["plain", None, None, "mine"]
    assert begun[2].ended == dict.fromkeys(("a", "b"), Fate.CANCELLED)
    assert store.kept("a") == ["mine"]
    assert store.pending.due(10) == ["other"], "its own task, if any, is the other one's"


def test_pushes_to_one_key_are_appended_in_the_order_of_their_task(store: Store) -> None:
    pushes = [_accepted(store, "a", push_id=f"{number:03}") for number in range(250)]
    begun = _record(store).begin(pushes)
    assert [one.push.places["a"].offset for one in begun if one.push] == list(range(1, 251))
    assert store.pending.due(1000) == []


def test_ends_that_are_written_together_are_those_of_each_push(store: Store) -> None:
    pushes = [_accepted(store, "a", push_id=push_id) for push_id in ("x", "y", "z")]
    ends = [[Step("a", State.EXPIRED, 1)], [], [Step("a", State.EXPIRED, 1)]]
    _record(store).settle(list(zip(pushes, ends, strict=True)))
    assert [store.state(it.push_id, "a") for it in pushes] == [State.EXPIRED, State.ACCEPTED, State.EXPIRED]
    assert store.pending.due(10) == ["y"]
