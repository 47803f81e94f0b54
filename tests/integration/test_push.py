"""A push reaches exactly the sessions that its targets name, on whatever node and transport they are."""

from collections.abc import Callable

import pytest

from tests.integration.conftest import Connect
from tests.integration.sending import delivered, fates, push
from tests.parts.clients import POLLING, UPGRADE, WEBSOCKET
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_TRANSPORTS = pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=["websocket", "polling"])


@_TRANSPORTS
def test_a_push_by_key_reaches_only_the_session_of_that_key(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    alice = connect(fleet.nodes[0], transports=transports, key=name("alice"))
    bob = connect(fleet.nodes[0], transports=transports, key=name("bob"))

    push_id = push(fleet, {"hello": 1}, keys=[name("alice")], op=7)

    assert alice.next_push() == {"op": 7, "msg": {"hello": 1}, "key": name("alice"), "push_id": push_id}
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)
    push(fleet, "for bob", keys=[name("bob")])
    assert bob.next_msg() == "for bob"
    assert alice.pushes_so_far() == []


def test_a_session_that_upgrades_from_polling_to_websocket_gets_pushes_before_and_after(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    alice = connect(fleet.nodes[1], transports=UPGRADE, key=name("alice"))
    push(fleet, "first", keys=[name("alice")])
    assert alice.next_msg() == "first"
    until(lambda: alice.transport == "websocket", 5, "the upgrade")
    push(fleet, "second", keys=[name("alice")])
    assert alice.next_msg() == "second"


@_TRANSPORTS
def test_every_tab_that_shares_a_key_gets_the_push(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    nodes = [fleet.nodes[0], fleet.nodes[0], fleet.nodes[1]]
    tabs = [connect(node, transports=transports, key=name("alice")) for node in nodes]
    push_id = push(fleet, keys=[name("alice")])
    assert [tab.next_push()["push_id"] for tab in tabs] == [push_id] * 3
    assert fates(fleet, push_id) == delivered(keys=1, sessions=3)


def test_a_session_without_a_key_is_given_one_that_reaches_it(fleet: Fleet, connect: Connect) -> None:
    nobody = connect(fleet.nodes[0])
    push(fleet, keys=[nobody.key])
    assert nobody.next_push()["key"] == nobody.key
    assert nobody.ready["node"] == fleet.nodes[0].node_id
    assert nobody.ready["recovered"] == {}


@_TRANSPORTS
def test_a_push_to_a_member_reaches_all_their_sessions_on_both_nodes(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    phone = connect(fleet.nodes[0], transports=transports, key=name("phone"), mid=name("42"))
    laptop = connect(fleet.nodes[1], transports=transports, key=name("laptop"), mid=name("42"))
    connect(fleet.nodes[1], transports=transports, key=name("other"), mid=name("43"))

    push_id = push(fleet, mids=[name("42")])

    assert phone.next_push()["key"] == f"mid:{name('42')}"
    assert laptop.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=2)


def test_a_member_may_be_an_integer_on_both_sides(fleet: Fleet, connect: Connect) -> None:
    largest = 2**63 - 1
    member = connect(fleet.nodes[0], mid=largest)
    push_id = push(fleet, mids=[largest])
    assert member.next_push()["key"] == f"mid:{largest}"
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)


@_TRANSPORTS
def test_a_push_to_a_room_reaches_its_sessions_on_both_nodes(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    room = f"live://{name('1000')}"
    here = connect(fleet.nodes[0], transports=transports, rooms=[room])
    there = connect(fleet.nodes[1], transports=transports, rooms=["elsewhere", room])
    connect(fleet.nodes[1], transports=transports, rooms=["elsewhere"])

    push_id = push(fleet, rooms=[room])

    assert here.next_push() == {"op": 9, "msg": "hello", "key": f"room:{room}", "push_id": push_id}
    assert there.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=2)


def test_a_session_in_several_rooms_gets_the_pushes_of_each(fleet: Fleet, connect: Connect, name: Name) -> None:
    rooms = [name(f"room-{number}") for number in range(5)]
    member = connect(fleet.nodes[0], rooms=rooms)
    for room in rooms:
        push(fleet, room, rooms=[room])
    assert sorted(member.next_msg() for _ in rooms) == rooms


@_TRANSPORTS
def test_a_push_to_all_reaches_every_session_of_every_node(
    fleet: Fleet, connect: Connect, transports: tuple[str, ...]
) -> None:
    everyone = [connect(node, transports=transports) for node in fleet.nodes * 2]
    push_id = push(fleet, all=True)
    assert [one.next_push()["key"] for one in everyone] == ["all"] * 4
    assert fates(fleet, push_id) == delivered(keys=1, sessions=4)


def test_a_session_that_answers_to_several_keys_of_one_push_gets_it_once(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    one = connect(fleet.nodes[0], key=name("k"), mid=name("m"), rooms=[name("r"), name("s")])
    push_id = push(fleet, keys=[name("k")], mids=[name("m")], rooms=[name("r"), name("s")], all=True)
    assert one.next_push()["key"] == name("k")
    assert fates(fleet, push_id) == delivered(keys=5, sessions=1)
    push(fleet, "next", keys=[name("k")])
    assert one.next_msg() == "next"


def test_a_key_that_nobody_has_is_offline_and_the_others_still_get_theirs(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    here = connect(fleet.nodes[0], key=name("here"))
    push_id = push(fleet, keys=[name("gone"), name("here")])
    assert here.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == {"delivered": 1, "offline": 1, "sessions": 1}
