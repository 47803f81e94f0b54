"""What every implementation of directory and registry guarantees."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.registry import NodeInfo
from tests.contract.conftest import MakeWorld, World

_ONE, _OTHER = "10.0.0.1:9500#aa", "10.0.0.2:9500#bb"
_LONG_S, _SHORT_S = 60.0, 0.05


def _info(node: str) -> NodeInfo:
    return NodeInfo(node, node.partition("#")[0], f"http://{node.partition(':')[0]}:9000", sessions=3)


def _up(world: World, *nodes: str, ttl_s: float = _LONG_S) -> None:
    for node in nodes:
        world.registry.register(_info(node), ttl_s)


def _resolve(world: World, *keys: str) -> dict[str, tuple[str, ...]]:
    return dict(world.directory.resolve(keys).nodes)


def test_a_key_leads_to_every_live_node_that_holds_it_and_a_count_is_their_sum(world: World) -> None:
    _up(world, _OTHER, _ONE)
    world.directory.put(_ONE, {"alice": 2, "all": 5})
    world.directory.put(_OTHER, {"all": 1})
    assert _resolve(world, "alice", "all", "bob") == {"alice": (_ONE,), "all": (_ONE, _OTHER), "bob": ()}
    assert world.directory.counts(["alice", "all", "bob"]) == {"alice": 2, "all": 6, "bob": 0}


def test_no_keys_are_no_trouble(world: World) -> None:
    world.directory.put(_ONE, {})
    assert _resolve(world) == {}
    assert world.directory.counts([]) == {}
    assert world.directory.top_rooms(10) == []


def test_a_count_replaces_the_one_before_and_zero_removes_it(world: World) -> None:
    _up(world, _ONE)
    for count in (1, 2, 1):
        world.directory.put(_ONE, {"room:a": count})
        assert world.directory.counts(["room:a"]) == {"room:a": count}
        assert world.directory.top_rooms(1) == [("a", count)]
    world.directory.put(_ONE, {"room:a": 0})
    assert _resolve(world, "room:a") == {"room:a": ()}
    assert world.directory.top_rooms(1) == []


def test_a_late_disconnect_does_not_erase_a_newer_session_elsewhere(world: World) -> None:
    _up(world, _ONE, _OTHER)
    world.directory.put(_ONE, {"alice": 1, "room:a": 1})
    world.directory.put(_OTHER, {"alice": 1, "room:a": 1})
    world.directory.put(_ONE, {"alice": 0, "room:a": 0})
    assert _resolve(world, "alice", "room:a") == {"alice": (_OTHER,), "room:a": (_OTHER,)}
    assert world.directory.top_rooms(5) == [("a", 1)]


def test_writes_that_are_repeated_do_no_harm(world: World) -> None:
    _up(world, _ONE)
    for counts in ({"alice": 2, "room:a": 3}, {"alice": 0, "never": 0}):
        for _ in range(2):
            world.directory.put(_ONE, counts)
    assert world.directory.counts(["alice", "room:a", "never"]) == {"alice": 0, "room:a": 3, "never": 0}


def test_without_a_lease_nothing_that_is_written_counts(world: World) -> None:
    world.directory.put(_ONE, {"alice": 1})
    assert _resolve(world, "alice") == {"alice": ()}
    _up(world, _ONE)
    assert _resolve(world, "alice") == {"alice": (_ONE,)}


def test_a_node_whose_lease_is_over_answers_to_nothing_at_once(world: World) -> None:
    _up(world, _ONE)
    _up(world, _OTHER, ttl_s=_SHORT_S)
    for node in (_ONE, _OTHER):
        world.directory.put(node, {"alice": 1, "room:a": 2})
    world.pass_s(_SHORT_S + 0.01)
    assert _resolve(world, "alice", "room:a") == {"alice": (_ONE,), "room:a": (_ONE,)}
    assert world.directory.counts(["room:a"]) == {"room:a": 2}
    assert world.directory.top_rooms(5) == [("a", 2)]
    assert [info.node for info in world.registry.live()] == [_ONE]
    assert world.registry.lapsed() == (_OTHER,)


def test_a_renewal_extends_a_lease_and_never_revives_one(world: World) -> None:
    _up(world, _ONE, ttl_s=_SHORT_S)
    assert world.registry.renew(_info(_ONE), _LONG_S)
    world.pass_s(_SHORT_S + 0.01)
    assert world.registry.lapsed() == ()

    assert world.registry.renew(_info(_ONE), _SHORT_S)
    world.pass_s(_SHORT_S + 0.01)
    assert not world.registry.renew(_info(_ONE), _LONG_S)
    assert world.registry.lapsed() == (_ONE,)


def test_a_node_that_the_store_never_heard_of_cannot_renew(world: World) -> None:
    assert not world.registry.renew(_info(_ONE), _LONG_S)
    assert world.registry.live() == []


def test_a_node_that_retires_is_gone_at_once_and_for_good(world: World) -> None:
    _up(world, _ONE)
    world.directory.put(_ONE, {"alice": 1})
    world.registry.retire(_ONE)
    assert _resolve(world, "alice") == {"alice": ()}
    assert not world.registry.renew(_info(_ONE), _LONG_S)


def test_only_the_dead_are_buried(world: World) -> None:
    _up(world, _ONE, _OTHER)
    world.registry.retire(_ONE)
    assert not world.registry.bury(_OTHER)
    assert world.registry.bury(_ONE)
    assert world.registry.lapsed() == ()
    assert [info.node for info in world.registry.live()] == [_OTHER]
    assert world.registry.bury(_ONE), "burying twice does no harm"


def test_a_sweep_removes_only_what_the_dead_node_left(world: World) -> None:
    _up(world, _ONE, _OTHER)
    for node in (_ONE, _OTHER):
        world.directory.put(node, {"alice": 1, "room:a": 2, "all": 3})
    world.registry.retire(_ONE)
    assert sum(world.directory.sweep(_ONE)) == 3
    assert world.directory.counts(["alice", "room:a", "all"]) == {"alice": 1, "room:a": 2, "all": 3}
    assert world.directory.top_rooms(5) == [("a", 2)]
    assert sum(world.directory.sweep(_ONE)) == 0

    _up(world, _ONE)  # what no node does: it shows whether something is left under that name
    assert _resolve(world, "alice", "room:a", "all") == dict.fromkeys(("alice", "room:a", "all"), (_OTHER,))
    assert world.directory.top_rooms(5) == [("a", 2)]


def test_a_sweep_that_was_left_half_way_is_finished_by_the_next(world: World) -> None:
    keys = [f"room:{number}" for number in range(1200)]
    world.directory.put(_ONE, dict.fromkeys(keys, 1))
    for _size in world.directory.sweep(_ONE):
        break
    for _size in world.directory.sweep(_ONE):
        pass
    _up(world, _ONE)
    assert set(world.directory.counts(keys).values()) == {0}
    assert world.directory.top_rooms(5) == []


def test_thousands_of_keys_in_one_call(world: World) -> None:
    _up(world, _ONE, _OTHER)
    keys = [f"用户-{number}" for number in range(5000)]
    world.directory.put(_ONE, {key: number + 1 for number, key in enumerate(keys)})
    world.directory.put(_OTHER, dict.fromkeys(keys[::2], 1))
    routes = _resolve(world, *keys)
    assert list(routes) == keys
    assert Counter(len(nodes) for nodes in routes.values()) == {1: 2500, 2: 2500}
    assert world.directory.counts([keys[-1]]) == {keys[-1]: 5000}
    assert sum(world.directory.sweep(_ONE)) == 5000
    assert set(_resolve(world, *keys[1::2]).values()) == {()}


def test_no_key_is_taken_for_another(world: World) -> None:
    _up(world, _ONE)
    keys = ["a", "A", "dir:a", "a:b", "room:a", "mid:a", "{a}", "a*", "a b", "é", "e\u0301", "x" * 256]
    world.directory.put(_ONE, {key: number + 1 for number, key in enumerate(keys)})
    assert world.directory.counts(keys) == {key: number + 1 for number, key in enumerate(keys)}


def test_a_store_is_young_until_its_nodes_had_time_to_register(make_world: MakeWorld) -> None:
    world = make_world(0.2)
    assert not world.directory.resolve(["alice"]).settled, "an empty store knows nothing"
    _up(world, _ONE)
    assert not world.directory.resolve(["alice"]).settled
    world.pass_s(0.21)
    assert world.directory.resolve(["alice"]).settled
    _up(world, _OTHER)
    assert world.directory.resolve(["alice"]).settled, "another node does not make a store young"

    world.registry.unsettle()
    assert not world.directory.resolve(["alice"]).settled
    world.pass_s(0.21)
    assert world.directory.resolve(["alice"]).settled


def test_what_a_node_says_of_itself_is_kept_as_it_last_said_it(world: World) -> None:
    said = NodeInfo(_ONE, "10.0.0.1:9500", "https://push.example", 7, True, 12, 1_700_000_000_000)
    _up(world, _ONE)
    assert world.registry.renew(said, _LONG_S)
    assert world.registry.live() == [said]


def test_the_run_of_a_store_has_a_name_that_stays(world: World) -> None:
    assert world.registry.run_id()
    assert world.registry.run_id() == world.registry.run_id()


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_of_fewer_rooms_than_asked_for_all_are_listed_and_of_none_none(world: World, limit: int) -> None:
    _up(world, _ONE)
    world.directory.put(_ONE, {"room:a": 1, "room:b": 2, "alice": 9, "room:": 0})
    assert world.directory.top_rooms(limit) == [("b", 2), ("a", 1)][:limit]


_NODES = [f"10.0.0.{number}:9500#aa" for number in range(3)]
_ROOMS = st.dictionaries(st.integers(0, 30).map(lambda number: f"room:r{number}"), st.integers(1, 9), max_size=20)


@settings(max_examples=40, deadline=None)
@given(held=st.tuples(_ROOMS, _ROOMS, _ROOMS), limit=st.integers(1, 6), dead=st.booleans())
def test_top_rooms_are_those_of_a_full_count(
    make_world: MakeWorld, held: tuple[dict[str, int], ...], limit: int, dead: bool
) -> None:
    world = make_world(0.0)
    _up(world, *_NODES)
    for node, rooms in zip(_NODES, held, strict=True):
        world.directory.put(node, rooms)
    if dead:
        world.registry.retire(_NODES[0])
    total = sum((Counter(rooms) for rooms in held[dead:]), Counter[str]())

    top = world.directory.top_rooms(limit)

    assert [count for _, count in top] == sorted(total.values(), reverse=True)[:limit]
    assert len(dict(top)) == len(top), "a room is listed twice"
    assert all(total[f"room:{room}"] == count for room, count in top)
