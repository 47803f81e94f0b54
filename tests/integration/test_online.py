"""Who is online, and where: exact once the nodes have said so, which they do at once for keys and soon for totals."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.integration.conftest import Connect
from tests.integration.sending import CALL_S, get
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SOON_S = 5.0


def _until_answers(fleet: Fleet, path: str, expected: Any) -> None:
    until(lambda: bool(get(fleet, path) == expected), _SOON_S, f"{path} answers {expected}, not {get(fleet, path)}")


def test_counts_by_key_follow_connects_joins_leaves_and_ends(spare_fleet: Fleet, connect: Connect, name: Name) -> None:
    fleet, (k, m, r) = spare_fleet, (name("k"), name("m"), name("r"))
    path = f"/v1/online/keys?key={k}&key=mid:{m}&key=room:{r}&key=all&key={name('nobody')}"

    def says(key: int, mid: int, room: int, everyone: int) -> None:
        counts = {k: key, f"mid:{m}": mid, f"room:{r}": room, "all": everyone, name("nobody"): 0}
        _until_answers(fleet, path, {"keys": counts})

    says(0, 0, 0, 0)
    one = connect(fleet.nodes[0], key=k, mid=m)
    two = connect(fleet.nodes[1], key=k)
    three = connect(fleet.nodes[1], mid=m, rooms=[r])
    says(2, 2, 1, 3)
    one.ask("join", r)
    two.ask("join", r)
    three.ask("leave", r)
    says(2, 2, 2, 3)
    one.close()
    says(1, 1, 1, 2)
    two.close()
    three.close()
    says(0, 0, 0, 0)


def test_totals_and_nodes_follow_connects_and_ends(spare_fleet: Fleet, connect: Connect) -> None:
    fleet = spare_fleet
    _until_answers(fleet, "/v1/online", {"sessions": 0, "nodes": 2})
    sessions = [connect(fleet.nodes[0]), connect(fleet.nodes[1]), connect(fleet.nodes[1])]
    _until_answers(fleet, "/v1/online", {"sessions": 3, "nodes": 2})
    _until_answers(fleet, "/im/online/total", _enveloped({"conn_count": 3, "node_count": 2}))

    listed = {node["node"]: node for node in get(fleet, "/v1/nodes")["nodes"]}
    assert get(fleet, "/im/nodes/instances")["data"][0].keys() == next(iter(listed.values())).keys()
    for node, count in zip(fleet.nodes, (1, 2), strict=True):
        shown = listed.pop(node.node_id)
        assert shown["probe_age_ms"] < 10_000
        assert shown["started_ms"] > 0
        kept = {name: shown[name] for name in ("grpc", "url", "sessions", "draining", "fresh")}
        assert kept == {"grpc": node.grpc, "url": node.url, "sessions": count, "draining": False, "fresh": True}
    assert listed == {}

    for session in sessions:
        session.close()
    _until_answers(fleet, "/v1/online", {"sessions": 0, "nodes": 2})


def test_rooms_are_counted_over_both_nodes_and_listed_largest_first(
    spare_fleet: Fleet, connect: Connect, name: Name
) -> None:
    fleet = spare_fleet
    large, small, other = f"live://{name('large')}", f"live://{name('small')}", f"chat://{name('other')}"
    connect(fleet.nodes[0], rooms=[large, other])
    connect(fleet.nodes[1], rooms=[large, other])
    connect(fleet.nodes[1], rooms=[large, small])
    rooms = [{"room": large, "sessions": 3}, {"room": other, "sessions": 2}, {"room": small, "sessions": 1}]

    _until_answers(fleet, "/v1/online/rooms", {"rooms": rooms})
    assert get(fleet, "/v1/online/rooms?limit=2") == {"rooms": rooms[:2]}
    assert get(fleet, f"/v1/online/rooms/{large}") == rooms[0]
    assert get(fleet, f"/v1/online/rooms/{quote(large, safe='')}") == rooms[0]
    assert get(fleet, f"/v1/online/rooms/{name('empty')}") == {"room": name("empty"), "sessions": 0}

    im_rooms = [{"room_id": room["room"], "count": room["sessions"]} for room in rooms]
    assert get(fleet, "/im/online/top") == _enveloped(im_rooms)
    assert get(fleet, "/im/online/top?type=live&limit=1") == _enveloped(im_rooms[:1])
    assert get(fleet, "/im/online/top?type=live") == _enveloped([im_rooms[0], im_rooms[2]])
    counted = get(fleet, f"/im/online/room?type=live&rooms={name('large')},{name('small')}")
    assert counted == _enveloped({large: 3, small: 1})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/online/rooms?limit=0", "limit"),
        ("/v1/online/rooms?limit=1001", "limit"),
        ("/v1/online/rooms?limit=ten", "limit"),
        ("/v1/online/keys", "key"),
        ("/v1/online/keys?key=a&key=", "key[1]"),
        ("/v1/online/rooms/%00", "room"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_field(fleet: Fleet, path: str, field: str) -> None:
    answer = requests.get(fleet.url + path, timeout=CALL_S)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]


def _enveloped(data: Any) -> dict[str, Any]:
    return {"code": 0, "msg": "ok", "data": data}
