"""What to send where, and how each key ends."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable
from proto.message import Fate, KeyOutcome, Outcome
from tasks.dispatch import Answer, Attempt, Plan, Settlement, find_server, plan

_DELIVERED = KeyOutcome(Outcome.DELIVERED, 1)
_NOBODY = KeyOutcome(Outcome.NO_SESSION)


def test_keys_are_grouped_by_node_and_each_keeps_its_order() -> None:
    holders = {"a": ("n1", "n2"), "b": ("n2",), "c": ()}
    assert plan(["b", "a", "c", "unheard"], holders, {}) == Plan({"n2": ("b", "a"), "n1": ("a",)})


def test_a_node_that_has_the_push_already_is_left_out_for_that_key_only() -> None:
    assert plan(["a", "b"], {"a": ("n1",), "b": ("n1",)}, {"a": ("n1",)}) == Plan({"n1": ("b",)})


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("10.0.0.1:9500#aa", "10.0.0.1:9500#aa"),
        ("10.0.0.1:9500", "10.0.0.1:9500#aa"),
        ("10.0.0.1:9500#bb", None),
        ("10.0.0.1:950", None),
        ("10.0.0.1", None),
        ("", None),
    ],
)
def test_a_server_is_found_by_incarnation_or_by_address(server: str, found: str | None) -> None:
    assert find_server(server, ["10.0.0.2:9500#cc", "10.0.0.1:9500#aa"]) == found


def _ended(
    answers: Mapping[str, Answer], *, settled: bool = True, done: Mapping[str, tuple[str, ...]] | None = None
) -> Settlement:
    attempt = Attempt(["k"], done or {})
    attempt.record(Plan(dict.fromkeys(answers, ("k",))), answers)
    return attempt.settle(settled=settled)


_UNREACHABLE, _BUSY, _REFUSED = NodeUnreachable("n2", "down"), NodeBusy("n2", "full"), NodeRefused("n2", "no")


@pytest.mark.parametrize(
    ("outcomes", "fate"),
    [
        ([], Fate.OFFLINE),
        ([Outcome.NO_SESSION], Fate.OFFLINE),
        ([Outcome.NO_SESSION, Outcome.DELIVERED], Fate.DELIVERED),
        ([Outcome.DUPLICATE], Fate.DELIVERED),
        ([Outcome.QUEUED, Outcome.NO_SESSION], Fate.QUEUED),
        ([Outcome.QUEUED, Outcome.DELIVERED], Fate.DELIVERED),
        ([Outcome.SLOW, Outcome.QUEUED], Fate.QUEUED),
        ([Outcome.SLOW, Outcome.FILTERED], Fate.SLOW),
        ([Outcome.SLOW, Outcome.DELIVERED], Fate.DELIVERED),
        ([Outcome.FILTERED, Outcome.NO_SESSION], Fate.FILTERED),
        ([Outcome.EXPIRED, Outcome.NO_SESSION], Fate.EXPIRED),
        ([Outcome.EXPIRED, Outcome.FILTERED], Fate.FILTERED),
    ],
)
def test_the_best_of_the_nodes_outcomes_is_the_keys_fate(outcomes: list[Outcome], fate: Fate) -> None:
    ended = _ended({f"n{number}": {"k": KeyOutcome(outcome)} for number, outcome in enumerate(outcomes)})
    assert (ended.fates, ended.left) == ({"k": fate}, ())


@pytest.mark.parametrize("error", [_UNREACHABLE, _BUSY])
def test_where_one_node_has_it_and_another_cannot_be_asked_the_key_is_left_for_the_other(error: NodeError) -> None:
    ended = _ended({"n1": {"k": _DELIVERED}, "n2": error})
    assert (ended.fates, ended.left, ended.done) == ({}, ("k",), {"k": ("n1",)})
    assert ended.reasons == {"k": str(error)}
    assert ended.sessions == 1

    later = Attempt(ended.left, ended.done)
    assert later.first({"k": ("n1", "n2")}) == Plan({"n2": ("k",)})


def test_where_a_node_has_enough_paced_broadcasts_the_key_is_left_for_it() -> None:
    ended = _ended({"n1": {"k": KeyOutcome(Outcome.QUEUED, 3)}, "n2": {"k": KeyOutcome(Outcome.BUSY)}})
    assert (ended.fates, ended.left, ended.done, ended.sessions) == ({}, ("k",), {"k": ("n1",)}, 3)
    assert ended.reasons == {"k": "n2: enough paced broadcasts are under way"}
    assert not ended.patient


def test_a_key_whose_other_node_is_gone_by_the_next_attempt_is_delivered() -> None:
    assert _ended({}, done={"k": ("n1",)}).fates == {"k": Fate.DELIVERED}


def test_what_a_node_refuses_for_good_has_failed_with_its_reason() -> None:
    ended = _ended({"n2": _REFUSED})
    assert (ended.fates, ended.reasons) == ({"k": Fate.FAILED}, {"k": "n2: no"})


def test_a_node_that_hands_it_over_from_the_inbox_is_not_asked_again() -> None:
    ended = _ended({"n1": {"k": KeyOutcome(Outcome.QUEUED)}, "n2": _UNREACHABLE})
    assert (ended.fates, ended.done) == ({}, {"k": ("n1",)})


def test_a_refusal_does_not_take_away_what_another_node_delivered() -> None:
    assert _ended({"n1": {"k": _DELIVERED}, "n2": _REFUSED}).fates == {"k": Fate.DELIVERED}


def test_nothing_ends_as_offline_while_the_store_is_young() -> None:
    ended = _ended({}, settled=False)
    assert (ended.fates, ended.left, ended.done) == ({}, ("k",), {"k": ()})


def test_the_node_that_delivered_is_remembered_while_the_store_is_young() -> None:
    assert _ended({"n1": {"k": _DELIVERED}}, settled=False).done == {"k": ("n1",)}


def test_a_key_that_moved_is_sent_to_where_it_went_and_nobody_is_asked_twice() -> None:
    attempt = Attempt(["k", "other"], {})
    first = attempt.first({"k": ("n1",), "other": ("n1",)})
    attempt.record(first, {"n1": {"k": _NOBODY, "other": _DELIVERED}})
    assert attempt.moved() == ("k",)
    second = attempt.second({"k": ("n1", "n2"), "other": ("n3",)})
    assert second == Plan({"n2": ("k",)})
    attempt.record(second, {"n2": {"k": _DELIVERED}})
    assert attempt.settle().fates == {"k": Fate.DELIVERED, "other": Fate.DELIVERED}


def test_a_key_that_is_named_twice_is_sent_once() -> None:
    assert Attempt(["k", "k"], {}).first({"k": ("n1",)}) == Plan({"n1": ("k",)})


_KEY_NAMES = st.sampled_from(["a", "b", "c", "d"])
_NODE_NAMES = st.sampled_from(["n1", "n2", "n3"])
_HOLDERS = st.dictionaries(_KEY_NAMES, st.lists(_NODE_NAMES, unique=True).map(tuple))
_ERRORS = st.sampled_from([NodeUnreachable, NodeBusy, NodeRefused])


@given(
    keys=st.lists(_KEY_NAMES, min_size=1, unique=True),
    done=_HOLDERS,
    rounds=st.tuples(_HOLDERS, _HOLDERS),
    settled=st.booleans(),
    data=st.data(),
)
def test_whatever_nodes_answer_every_key_ends_once_and_no_node_is_asked_in_vain(
    keys: list[str],
    done: dict[str, tuple[str, ...]],
    rounds: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]],
    settled: bool,
    data: st.DataObject,
) -> None:
    attempt = Attempt(keys, done)
    asked: list[tuple[str, str]] = []
    has_it: set[tuple[str, str]] = set()
    for number, holders in enumerate(rounds):
        it = attempt.second(holders) if number else attempt.first(holders)
        answers: dict[str, Answer] = {}
        for node, its_keys in it.sends.items():
            asked += [(node, key) for key in its_keys]
            if data.draw(st.booleans()):
                answers[node] = data.draw(_ERRORS)(node, "why")
                continue
            answers[node] = {key: KeyOutcome(data.draw(st.sampled_from(Outcome)), 1) for key in its_keys}
        attempt.record(it, answers)
        for node, answer in answers.items():
            if not isinstance(answer, NodeError):
                has_it |= {
                    (node, key)
                    for key, got in answer.items()
                    if got.outcome in (Outcome.DELIVERED, Outcome.DUPLICATE, Outcome.QUEUED)
                }
    ended = attempt.settle(settled=settled)

    assert sorted([*ended.fates, *ended.left]) == sorted(keys), "a key has no ending, or two"
    assert len(asked) == len(set(asked)), "a node was asked twice for a key"
    assert not any(node in done.get(key, ()) for node, key in asked), "a node was sent what it has"
    assert set(ended.done) == set(ended.left)
    for key in ended.left:
        assert set(ended.done[key]) == {*done.get(key, ()), *(node for node, its in has_it if its == key)}
        assert ended.reasons[key]
    for key, fate in ended.fates.items():
        assert (fate in (Fate.DELIVERED, Fate.QUEUED)) == (bool(done.get(key)) or any(its == key for _, its in has_it))
        assert fate not in (Fate.FAILED, Fate.SLOW) or ended.reasons[key]
