"""Who is online and where to connect, in our form and in im-cloud's."""

import pytest

from store.registry import NodeInfo
from tests.parts.web import Web, make_web


def _node(name: str, sessions: int = 0, *, draining: bool = False, probe_age_ms: int | None = 100) -> NodeInfo:
    return NodeInfo(f"{name}#b", name, f"http://{name}", sessions, draining, probe_age_ms, started_ms=5)


@pytest.fixture
def web() -> Web:
    web = make_web()
    web.store.nodes = [_node("a:1", 3), _node("b:1", 4)]
    web.store.sessions = {"alice": 2, "mid:42": 1, "room:live://1000": 7}
    web.store.top = [("live://1000", 7), ("chat://1", 5), ("live://2", 1)]
    return web


def test_totals_add_up_the_live_nodes(web: Web) -> None:
    assert web.get("/v1/online").json == {"sessions": 7, "nodes": 2}
    assert web.get("/im/online/total").json == {"code": 0, "msg": "ok", "data": {"conn_count": 7, "node_count": 2}}


def test_rooms_are_listed_by_size_and_limited(web: Web) -> None:
    assert web.get("/v1/online/rooms?limit=1").json == {"rooms": [{"room": "live://1000", "sessions": 7}]}
    assert len(web.get("/v1/online/rooms").json["rooms"]) == 3


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1001", "9" * 5000, "1.5", "٣"])
@pytest.mark.parametrize("path", ["/v1/online/rooms", "/im/online/top"])
def test_a_faulty_limit_is_named(web: Web, path: str, limit: str) -> None:
    response = web.get(f"{path}?limit={limit}")
    errors = response.json.get("errors") or response.json["data"]
    assert (response.status_code, errors) == (
        422,
        [{"field": "limit", "message": "must be an integer from 1 to 1000"}],
    )


@pytest.mark.parametrize("path", ["/v1/online/rooms/live://1000", "/v1/online/rooms/live%3A%2F%2F1000"])
def test_a_room_is_counted_though_its_name_holds_slashes(web: Web, path: str) -> None:
    assert web.get(path).json == {"room": "live://1000", "sessions": 7}


def test_keys_of_every_form_are_counted(web: Web) -> None:
    response = web.get("/v1/online/keys?key=alice&key=mid:42&key=nobody&key=alice")
    assert response.json == {"keys": {"alice": 2, "mid:42": 1, "nobody": 0}}


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "key"), ("?key=", "key[0]"), ("?key=a&key=%0A", "key[1]"), ("?key=" + "k" * 257, "key[0]")],
)
def test_faulty_keys_are_named(web: Web, query: str, field: str) -> None:
    response = web.get(f"/v1/online/keys{query}")
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


def test_nodes_are_listed_with_what_they_say_of_themselves(web: Web) -> None:
    shown = {
        "node": "a:1#b",
        "grpc": "a:1",
        "url": "http://a:1",
        "sessions": 3,
        "draining": False,
        "probe_age_ms": 100,
        "started_ms": 5,
        "fresh": True,
    }
    assert web.get("/v1/nodes").json["nodes"][0] == shown
    assert web.get("/im/nodes/instances").json["data"][0] == shown


def test_the_best_node_is_the_least_loaded_that_is_fit(web: Web) -> None:
    web.store.nodes = [
        _node("full:1", 9),
        _node("draining:1", 0, draining=True),
        _node("stale:1", 0, probe_age_ms=10_001),
        _node("new:1", 0, probe_age_ms=None),
        _node("good:1", 8, probe_age_ms=10_000),
    ]
    assert web.get("/v1/nodes/best").json == {
        "node": "good:1#b",
        "url": "http://good:1",
        "sessions": 8,
        "backoff": {"min_ms": 500, "max_ms": 10_000, "factor": 2.0, "jitter": 0.5},
    }


def test_when_no_proof_is_fresh_the_least_loaded_that_ever_delivered_is_best(web: Web) -> None:
    web.store.nodes = [
        _node("draining:1", 0, draining=True),
        _node("new:1", 0, probe_age_ms=None),
        _node("stale:1", 2, probe_age_ms=60_000),
        _node("fuller:1", 3, probe_age_ms=10_001),
    ]
    assert web.get("/v1/nodes/best").json["node"] == "stale:1#b"


@pytest.mark.parametrize("nodes", [[], [_node("a:1", draining=True)], [_node("a:1", probe_age_ms=None)]])
def test_with_no_fit_node_the_answer_is_503(web: Web, nodes: list[NodeInfo]) -> None:
    web.store.nodes = nodes
    response = web.get("/v1/nodes/best")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/online",
        "/v1/online/rooms",
        "/v1/online/rooms/a",
        "/v1/online/keys?key=a",
        "/v1/nodes",
        "/v1/nodes/best",
        "/im/online/top",
        "/im/online/room?rooms=1",
        "/im/online/total",
        "/im/nodes/instances",
    ],
)
def test_reading_a_store_that_is_down_is_503(web: Web, path: str) -> None:
    web.store.down = True
    response = web.get(path)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json.get("status", response.json.get("code")) == 503


@pytest.mark.parametrize("kind", ["live", "live://"])
def test_im_rooms_are_named_by_type_and_room(web: Web, kind: str) -> None:
    assert web.get(f"/im/online/room?type={kind}&rooms=1000").json["data"] == {"live://1000": 7}
    assert web.get(f"/im/online/top?type={kind}&limit=5").json["data"] == [
        {"room_id": "live://1000", "count": 7},
        {"room_id": "live://2", "count": 1},
    ]
