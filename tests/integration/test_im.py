"""im-cloud's and goim's callers push as they are used to: JSON, form or query, in their envelope."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.integration.conftest import Connect
from tests.integration.sending import CALL_S, get
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_WAYS = pytest.mark.parametrize("way", ["json", "data", "params"], ids=["JSON", "form", "query"])


def _post(fleet: Fleet, path: str, way: str, fields: dict[str, Any]) -> str:
    """Push *fields* in one of the three ways; gives the push_id of its answer."""
    encoding: dict[str, Any] = {way: fields}
    answer = requests.post(f"{fleet.url}/im/push/{path}", timeout=CALL_S, **encoding)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    push_id: str = body["data"]["push_id"]
    assert body == {"code": 0, "msg": "ok", "data": {"push_id": push_id, "status": "accepted"}}
    return push_id


@_WAYS
def test_push_keys(fleet: Fleet, connect: Connect, name: Name, way: str) -> None:
    one, two = [connect(node, key=name(f"k{number}")) for number, node in enumerate(fleet.nodes)]
    push_id = _post(fleet, "keys", way, {"keys": [name("k0"), name("k1")], "operation": 1001, "msg": "hi"})
    assert one.next_push() == {"op": 1001, "msg": "hi", "key": name("k0"), "push_id": push_id}
    assert two.next_push()["key"] == name("k1")


def test_keys_in_one_value_may_be_separated_by_commas(fleet: Fleet, connect: Connect, name: Name) -> None:
    sessions = [connect(fleet.nodes[0], key=name(f"k{number}")) for number in range(2)]
    _post(fleet, "keys", "params", {"keys": f"{name('k0')},{name('k1')}", "msg": "hi"})
    assert [session.next_msg() for session in sessions] == ["hi", "hi"]


@_WAYS
def test_push_mids(fleet: Fleet, connect: Connect, name: Name, way: str) -> None:
    session = connect(fleet.nodes[1], mid=name("42"))
    push_id = _post(fleet, "mids", way, {"mids": [name("42")], "msg": "hi"})
    assert session.next_push() == {"op": 9, "msg": "hi", "key": f"mid:{name('42')}", "push_id": push_id}


@_WAYS
@pytest.mark.parametrize("kind", ["live", "live://"])
def test_push_room(fleet: Fleet, connect: Connect, name: Name, way: str, kind: str) -> None:
    session = connect(fleet.nodes[0], rooms=[f"live://{name('1000')}"])
    _post(fleet, "room", way, {"type": kind, "room": name("1000"), "operation": 7, "msg": "hi"})
    push = session.next_push()
    assert (push["op"], push["key"]) == (7, f"room:live://{name('1000')}")


@_WAYS
def test_push_all(fleet: Fleet, connect: Connect, way: str) -> None:
    sessions = [connect(node) for node in fleet.nodes]
    _post(fleet, "all", way, {"msg": "hi"})
    assert [session.next_push()["key"] for session in sessions] == ["all", "all"]


def test_push_to_an_explicit_server(fleet: Fleet, connect: Connect, name: Name) -> None:
    _, there = [connect(node, key=name("k")) for node in fleet.nodes]
    _post(fleet, "keys", "json", {"keys": [name("k")], "msg": {"any": ["JSON"]}, "server": fleet.nodes[1].grpc})
    assert there.next_msg() == {"any": ["JSON"]}


@pytest.mark.parametrize(
    ("path", "fields", "problem"),
    [
        ("keys", {"msg": "x"}, {"field": "keys", "message": "is required"}),
        ("room", {"type": "live", "msg": "x"}, {"field": "room", "message": "is required"}),
        ("all", {}, {"field": "msg", "message": "is required"}),
        ("keys", {"keys": ["k"], "msg": "x", "colour": 1}, {"field": "colour", "message": "is not a known field"}),
        (
            "keys",
            {"keys": ["k"], "msg": "x", "operation": "nine"},
            {"field": "operation", "message": "must be an integer"},
        ),
    ],
)
def test_what_is_at_fault_is_named_in_the_envelope(
    fleet: Fleet, path: str, fields: dict[str, Any], problem: dict[str, str]
) -> None:
    answer = requests.post(f"{fleet.url}/im/push/{path}", json=fields, timeout=CALL_S)
    assert answer.status_code == 422
    assert answer.json()["code"] == 422
    assert answer.json()["data"] == [problem]


def test_health_and_instances(fleet: Fleet) -> None:
    assert get(fleet, "/health") == {"code": 0, "msg": "ok", "data": {"status": "ok", "broker": "up", "store": "up"}}
    nodes = get(fleet, "/im/nodes/instances")["data"]
    assert {node["node"] for node in nodes} == {node.node_id for node in fleet.nodes}
