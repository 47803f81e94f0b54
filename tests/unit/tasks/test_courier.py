"""One attempt: two look-ups at most, and an explicit server without any."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from proto.errors import NodeError, NodeUnreachable, StoreUnavailable
from proto.message import Fate, KeyOutcome, Message, Outcome, Push
from proto.queues import Priority
from store.directory import Directory, Routes
from tasks.courier import Courier
from tasks.dispatch import Plan, Settlement
from tasks.nodes import Nodes
from tasks.suspicion import Suspicion

_MESSAGE = Message(9, b"null")


class _Directory:
    """Gives one answer after the other."""

    def __init__(self, *answers: Routes | StoreUnavailable) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    def resolve(self, keys: Sequence[str]) -> Routes:
        self.asked.append(tuple(keys))
        answer = self._answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


class _Live(_Directory):
    """Has these live nodes and no keys, as long as it is *up*."""

    def __init__(self, *nodes: str) -> None:
        super().__init__()
        self.nodes = nodes
        self.up = True

    def resolve(self, keys: Sequence[str]) -> Routes:
        self.asked.append(tuple(keys))
        if not self.up:
            raise StoreUnavailable("down")
        return Routes({}, live=self.nodes)


class _Nodes:
    """*holds* names the keys that a node has a session of; a node that is not in it cannot be reached."""

    def __init__(self, holds: Mapping[str, Sequence[str]]) -> None:
        self._holds = holds
        self.plans: list[Plan] = []
        self.sent: list[dict[str, list[tuple[str, tuple[str, ...]]]]] = []
        self.urgent: list[bool] = []

    def push_all(
        self, sends: Mapping[str, Sequence[tuple[Push, Sequence[str]]]], *, urgent: bool = False
    ) -> dict[str, list[Mapping[str, KeyOutcome] | NodeError]]:
        self.sent.append({node: [(push.push_id, tuple(keys)) for push, keys in its] for node, its in sends.items()})
        self.urgent.append(urgent)
        return {node: [self._answer(node, keys) for _, keys in its] for node, its in sends.items()}

    def disconnect(self, plan: Plan) -> dict[str, int | NodeError]:
        self.plans.append(plan)
        return {
            node: len(keys) if node in self._holds else NodeUnreachable(node, "down")
            for node, keys in plan.sends.items()
        }

    def _answer(self, node: str, keys: Sequence[str]) -> Mapping[str, KeyOutcome] | NodeError:
        if node not in self._holds:
            return NodeUnreachable(node, "down")
        return {
            key: KeyOutcome(Outcome.DELIVERED, 1) if key in self._holds[node] else KeyOutcome(Outcome.NO_SESSION)
            for key in keys
        }


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _courier(directory: Any, nodes: Any, clock: _Clock | None = None) -> Courier:
    clock = clock or _Clock()
    return Courier(cast(Directory, directory), cast(Nodes, nodes), Suspicion(clock), clock)


def _push(*keys: str, server: str | None = None, push_id: str = "01J0", **fields: Any) -> Push:
    return Push(push_id, keys, _MESSAGE, server=server, **fields)


def _attempt(courier: Courier, push: Push) -> Settlement:
    (settlement,) = courier.attempt([push])
    return settlement


def test_what_is_where_the_directory_says_takes_one_look() -> None:
    directory, nodes = _Directory(Routes({"a": ("n1",)})), _Nodes({"n1": "a"})
    ended = _attempt(_courier(directory, nodes), _push("a"))
    assert ended.fates == {"a": Fate.DELIVERED}
    assert directory.asked == [("a",)]


def test_a_key_that_moved_is_looked_up_once_more_and_found() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1",)}), Routes({"a": ("n2",)}))
    nodes = _Nodes({"n1": "b", "n2": "a"})
    ended = _attempt(_courier(directory, nodes), _push("a", "b"))
    assert ended.fates == {"a": Fate.DELIVERED, "b": Fate.DELIVERED}
    assert directory.asked == [("a", "b"), ("a",)]
    assert nodes.sent[1] == {"n2": [("01J0", ("a",))]}


def test_a_key_that_went_away_is_offline_after_two_looks_not_more() -> None:
    directory = _Directory(Routes({"a": ("n1",)}), Routes({"a": ("n1",)}))
    ended = _attempt(_courier(directory, _Nodes({"n1": ""})), _push("a"))
    assert ended.fates == {"a": Fate.OFFLINE}


def test_a_store_that_goes_away_between_the_looks_leaves_the_key_for_later() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1",)}), StoreUnavailable("down"))
    ended = _attempt(_courier(directory, _Nodes({"n1": "b"})), _push("a", "b"))
    assert "a" in ended.left
    assert ended.done.get("b", ("n1",)) == ("n1",)


def test_a_store_that_lost_its_data_between_the_looks_is_not_believed() -> None:
    directory = _Directory(Routes({"a": ("n1",)}), Routes({"a": ()}, settled=False))
    ended = _attempt(_courier(directory, _Nodes({"n1": ""})), _push("a"))
    assert (ended.fates, ended.left) == ({}, ("a",))


def test_a_young_stores_silence_is_not_believed() -> None:
    ended = _attempt(_courier(_Directory(Routes({"a": ()}, settled=False)), _Nodes({})), _push("a"))
    assert ended.left == ("a",)


def test_when_the_store_is_down_nothing_is_sent_and_all_is_left() -> None:
    nodes = _Nodes({})
    ended = _attempt(_courier(_Directory(StoreUnavailable("down")), nodes), _push("a"))
    assert (ended.left, ended.away, ended.reasons) == (("a",), True, {"a": "down"})
    assert nodes.sent == []


@pytest.mark.parametrize("server", ["h:1#aa", "h:1"])
def test_an_explicit_server_is_asked_without_a_look_at_keys(server: str) -> None:
    directory, nodes = _Live("g:1#bb", "h:1#aa"), _Nodes({"h:1#aa": "a"})
    ended = _attempt(_courier(directory, nodes), _push("a", "b", server=server))
    assert ended.fates == {"a": Fate.DELIVERED, "b": Fate.OFFLINE}
    assert nodes.sent == [{"h:1#aa": [("01J0", ("a", "b"))]}]
    assert directory.asked == [()]


def test_pushes_to_a_server_that_was_seen_flow_while_the_store_is_down() -> None:
    directory = _Live("h:1#aa")
    courier = _courier(directory, _Nodes({"h:1#aa": "a"}))
    _attempt(courier, _push("a", server="h:1"))
    directory.up = False
    assert _attempt(courier, _push("a", server="h:1")).fates == {"a": Fate.DELIVERED}
    evil = _attempt(courier, _push("a", server="evil:1"))
    assert (evil.fates, evil.blame) == ({"a": Fate.FAILED}, "unknown_server")


def test_a_worker_that_never_saw_a_node_cannot_dial_one_while_the_store_is_down() -> None:
    directory, nodes = _Live(), _Nodes({})
    directory.up = False
    ended = _attempt(_courier(directory, nodes), _push("a", server="h:1"))
    assert (ended.left, ended.away) == (("a",), True)
    assert nodes.sent == []


def test_a_server_that_was_alive_lately_may_come_back_and_one_never_seen_may_not() -> None:
    directory, clock = _Live("h:1#aa"), _Clock()
    courier = _courier(directory, _Nodes({"h:1#aa": "a"}), clock)
    _attempt(courier, _push("a", server="h:1"))
    directory.nodes = ()

    clock.now += 59
    lately = _attempt(courier, _push("a", server="h:1"))
    assert (lately.left, lately.away) == (("a",), False)
    assert _attempt(courier, _push("a", server="h:2")).fates == {"a": Fate.FAILED}

    clock.now += 2
    assert _attempt(courier, _push("a", server="h:1")).fates == {"a": Fate.FAILED}


def test_pushes_of_a_task_share_one_look_and_one_call_a_node() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1", "n2")}))
    nodes = _Nodes({"n1": "ab", "n2": "b"})
    one, two = _push("a", "b", push_id="one"), _push("b", push_id="two")
    ended = _courier(directory, nodes).attempt([one, two])
    assert directory.asked == [("a", "b")], "a key that two pushes name is looked up once"
    assert nodes.sent == [{"n1": [("one", ("a", "b")), ("two", ("b",))], "n2": [("one", ("b",)), ("two", ("b",))]}]
    assert [one.fates for one in ended] == [{"a": Fate.DELIVERED, "b": Fate.DELIVERED}, {"b": Fate.DELIVERED}]
    assert [one.sessions for one in ended] == [3, 2]


def test_what_moved_of_several_pushes_is_looked_up_together_and_only_that() -> None:
    directory = _Directory(
        Routes({"a": ("n1",), "b": ("n1",), "c": ("n1",)}), Routes({"a": ("n2",), "c": ("n2",)}, settled=True)
    )
    nodes = _Nodes({"n1": "b", "n2": "ac"})
    ended = _courier(directory, nodes).attempt([_push(key, push_id=key) for key in "abc"])
    assert directory.asked == [("a", "b", "c"), ("a", "c")]
    assert nodes.sent[1] == {"n2": [("a", ("a",)), ("c", ("c",))]}
    assert [one.fates for one in ended] == [{key: Fate.DELIVERED} for key in "abc"]


def test_a_second_look_that_fails_leaves_only_what_moved() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1",)}), StoreUnavailable("down"))
    moved, found = _courier(directory, _Nodes({"n1": "b"})).attempt([_push("a"), _push("b")])
    assert (moved.left, moved.fates) == (("a",), {})
    assert (found.left, found.fates) == ((), {"b": Fate.DELIVERED})


def test_one_nodes_failure_is_that_of_its_keys_only() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n2",)}))
    failed, found = _courier(directory, _Nodes({"n2": "b"})).attempt([_push("a"), _push("b")])
    assert (failed.left, found.fates) == (("a",), {"b": Fate.DELIVERED})


def test_pushes_to_a_server_and_to_keys_go_together_and_without_the_store_only_the_former() -> None:
    directory = _Live("h:1#aa")
    courier = _courier(directory, _Nodes({"h:1#aa": "a"}))
    both = [_push("a", server="h:1"), _push("b")]
    assert [one.fates for one in courier.attempt(both)] == [{"a": Fate.DELIVERED}, {"b": Fate.OFFLINE}]
    directory.up = False
    at_server, by_key = courier.attempt(both)
    assert at_server.fates == {"a": Fate.DELIVERED}
    assert (by_key.left, by_key.away) == (("b",), True)


def test_only_pushes_of_high_priority_are_urgent() -> None:
    nodes = _Nodes({"n1": "a"})
    for priority in Priority:
        _attempt(_courier(_Directory(Routes({"a": ("n1",)})), nodes), _push("a", priority=priority))
    assert nodes.urgent == [priority is Priority.HIGH for priority in Priority]


def test_disconnect_names_the_nodes_that_could_not_be_asked() -> None:
    directory = _Directory(Routes({"a": ("n1", "n2"), "b": ("n1",)}))
    ended, errors = _courier(directory, _Nodes({"n1": ""})).disconnect(["a", "b"])
    assert ended == 2
    assert [error.node for error in errors] == ["n2"]
