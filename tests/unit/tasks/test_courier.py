"""One attempt: two look-ups at most, and an explicit server without any."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from proto.errors import NodeError, NodeUnreachable, StoreUnavailable, UnknownServer
from proto.message import Fate, KeyOutcome, Message, Outcome, Push
from store.directory import Directory, Routes
from store.registry import NodeInfo, Registry
from tasks.courier import Courier
from tasks.dispatch import Plan
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


class _Registry:
    def __init__(self, *nodes: str) -> None:
        self.nodes = nodes
        self.up = True

    def live(self) -> list[NodeInfo]:
        if not self.up:
            raise StoreUnavailable("down")
        return [NodeInfo(node, "", "") for node in self.nodes]


class _Nodes:
    """*holds* names the keys that a node has a session of; a node that is not in it cannot be reached."""

    def __init__(self, holds: Mapping[str, Sequence[str]]) -> None:
        self._holds = holds
        self.plans: list[Plan] = []

    def push(self, plan: Plan, _push: Push) -> dict[str, Mapping[str, KeyOutcome] | NodeError]:
        self.plans.append(plan)
        return {node: self._answer(node, keys) for node, keys in plan.sends.items()}

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


def _courier(directory: Any, nodes: Any, registry: Any = None, clock: _Clock | None = None) -> Courier:
    clock = clock or _Clock()
    return Courier(
        cast(Directory, directory),
        cast(Registry, registry or _Registry()),
        cast(Nodes, nodes),
        Suspicion(clock),
        clock,
    )


def _push(*keys: str, server: str | None = None) -> Push:
    return Push("01J0", keys, _MESSAGE, server=server)


def test_what_is_where_the_directory_says_takes_one_look() -> None:
    directory, nodes = _Directory(Routes({"a": ("n1",)})), _Nodes({"n1": "a"})
    ended = _courier(directory, nodes).attempt(_push("a"))
    assert ended.fates == {"a": Fate.DELIVERED}
    assert directory.asked == [("a",)]


def test_a_key_that_moved_is_looked_up_once_more_and_found() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1",)}), Routes({"a": ("n2",)}))
    nodes = _Nodes({"n1": "b", "n2": "a"})
    ended = _courier(directory, nodes).attempt(_push("a", "b"))
    assert ended.fates == {"a": Fate.DELIVERED, "b": Fate.DELIVERED}
    assert directory.asked == [("a", "b"), ("a",)]
    assert nodes.plans[1] == Plan({"n2": ("a",)})


def test_a_key_that_went_away_is_offline_after_two_looks_not_more() -> None:
    directory = _Directory(Routes({"a": ("n1",)}), Routes({"a": ("n1",)}))
    ended = _courier(directory, _Nodes({"n1": ""})).attempt(_push("a"))
    assert ended.fates == {"a": Fate.OFFLINE}


def test_a_store_that_goes_away_between_the_looks_leaves_the_key_for_later() -> None:
    directory = _Directory(Routes({"a": ("n1",), "b": ("n1",)}), StoreUnavailable("down"))
    ended = _courier(directory, _Nodes({"n1": "b"})).attempt(_push("a", "b"))
    assert "a" in ended.left
    assert ended.done.get("b", ("n1",)) == ("n1",)


def test_a_store_that_lost_its_data_between_the_looks_is_not_believed() -> None:
    directory = _Directory(Routes({"a": ("n1",)}), Routes({"a": ()}, settled=False))
    ended = _courier(directory, _Nodes({"n1": ""})).attempt(_push("a"))
    assert (ended.fates, ended.left) == ({}, ("a",))


def test_a_young_stores_silence_is_not_believed() -> None:
    ended = _courier(_Directory(Routes({"a": ()}, settled=False)), _Nodes({})).attempt(_push("a"))
    assert ended.left == ("a",)


def test_when_the_store_is_down_nothing_is_sent() -> None:
    nodes = _Nodes({})
    with pytest.raises(StoreUnavailable):
        _courier(_Directory(StoreUnavailable("down")), nodes).attempt(_push("a"))
    assert nodes.plans == []


@pytest.mark.parametrize("server", ["h:1#aa", "h:1"])
def test_an_explicit_server_is_asked_without_the_directory(server: str) -> None:
    directory, nodes = _Directory(), _Nodes({"h:1#aa": "a"})
    ended = _courier(directory, nodes, _Registry("g:1#bb", "h:1#aa")).attempt(_push("a", "b", server=server))
    assert ended.fates == {"a": Fate.DELIVERED, "b": Fate.OFFLINE}
    assert nodes.plans == [Plan({"h:1#aa": ("a", "b")})]


def test_pushes_to_a_server_that_was_seen_flow_while_the_store_is_down() -> None:
    registry = _Registry("h:1#aa")
    courier = _courier(_Directory(), _Nodes({"h:1#aa": "a"}), registry)
    courier.attempt(_push("a", server="h:1"))
    registry.up = False
    assert courier.attempt(_push("a", server="h:1")).fates == {"a": Fate.DELIVERED}
    with pytest.raises(UnknownServer):
        courier.attempt(_push("a", server="evil:1"))


def test_a_worker_that_never_saw_a_node_cannot_dial_one_while_the_store_is_down() -> None:
    registry = _Registry()
    registry.up = False
    with pytest.raises(StoreUnavailable):
        _courier(_Directory(), _Nodes({}), registry).attempt(_push("a", server="h:1"))


def test_a_server_that_was_alive_lately_may_come_back_and_one_never_seen_may_not() -> None:
    registry, clock = _Registry("h:1#aa"), _Clock()
    courier = _courier(_Directory(), _Nodes({"h:1#aa": "a"}), registry, clock)
    courier.attempt(_push("a", server="h:1"))
    registry.nodes = ()

    clock.now += 59
    with pytest.raises(UnknownServer) as lately:
        courier.attempt(_push("a", server="h:1"))
    assert lately.value.retryable
    with pytest.raises(UnknownServer) as never:
        courier.attempt(_push("a", server="h:2"))
    assert not never.value.retryable

    clock.now += 2
    with pytest.raises(UnknownServer) as long_ago:
        courier.attempt(_push("a", server="h:1"))
    assert not long_ago.value.retryable


def test_disconnect_names_the_nodes_that_could_not_be_asked() -> None:
    directory = _Directory(Routes({"a": ("n1", "n2"), "b": ("n1",)}))
    ended, errors = _courier(directory, _Nodes({"n1": ""})).disconnect(["a", "b"])
    assert ended == 2
    assert [error.node for error in errors] == ["n2"]
