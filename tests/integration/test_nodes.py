"""Where the next browser should go, and how sessions are ended from outside."""

from collections.abc import Callable
from signal import SIGTERM
from typing import Any

import pytest
import requests

from tests.integration.conftest import Connect
from tests.integration.sending import CALL_S, get, push
from tests.parts import journal
from tests.parts.clients import Client, Refused
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SOON_S = 5.0


def _until_best(fleet: Fleet, url: str, sessions: int) -> dict[str, Any]:
    def says() -> bool:
        best = get(fleet, "/v1/nodes/best")
        return bool((best["url"], best["sessions"]) == (url, sessions))

    until(says, _SOON_S, f"{url} is best with {sessions} sessions")
    best: dict[str, Any] = get(fleet, "/v1/nodes/best")
    return best


def test_best_is_the_node_with_the_fewest_sessions(spare_fleet: Fleet, connect: Connect) -> None:
    one, two = spare_fleet.nodes
    connect(one)
    best = _until_best(spare_fleet, two.url, 0)
    assert best["node"] == two.node_id
    assert best["backoff"] == {"min_ms": 500, "max_ms": 10_000, "factor": 2.0, "jitter": 0.5}
    for _ in range(2):
        connect(two)
    _until_best(spare_fleet, one.url, 1)


def test_a_draining_node_is_never_best_takes_nobody_and_sends_its_sessions_away(
    spare_fleet: Fleet, connect: Connect
) -> None:
    fleet = spare_fleet
    busy = [connect(fleet.nodes[0]) for _ in range(3)]
    going = fleet.start_node()
    # Two sessions: the second is closed in the middle of drain_s, so the node drains until we say otherwise.
    leaving = [connect(going) for _ in range(2)]
    _until_best(fleet, fleet.nodes[1].url, 0)
    try:
        busy += [connect(fleet.nodes[1]) for _ in range(4)]
        _until_best(fleet, going.url, 2)

        going.process.signal(SIGTERM)
        _until_best(fleet, fleet.nodes[0].url, 3)
        draining = {node["url"]: node["draining"] for node in get(fleet, "/v1/nodes")["nodes"]}
        assert draining == {fleet.nodes[0].url: False, fleet.nodes[1].url: False, going.url: True}
        turned_away = requests.get(f"{going.url}/socket.io/?EIO=4&transport=polling", timeout=CALL_S)
        assert (turned_away.status_code, turned_away.headers["Retry-After"]) == (503, "1")
        assert turned_away.json()["code"] == "draining"
        with pytest.raises(Refused):
            Client(going).open()
        assert leaving[0].until_ended() == "transport error"
        push(fleet, "still here", keys=[leaving[1].key])
        assert leaving[1].next_msg() == "still here"

        going.process.signal(SIGTERM)
        assert leaving[1].until_ended() == "transport error"
        until(lambda: not going.process.running, _SOON_S, "the end of the drained node")
        assert going.process.returncode == 0
        until(lambda: len(get(fleet, "/v1/nodes")["nodes"]) == 2, _SOON_S, "a registry without the drained node")
    finally:
        going.process.terminate()
        fleet.nodes.remove(going)


def test_ending_the_sessions_of_a_key_ends_them_on_both_nodes_and_they_stay_away(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    ended = [connect(node, key=name("k"), mid=name("m")) for node in fleet.nodes]
    other = connect(fleet.nodes[0], key=name("other"), mid=name("m"))

    answer = requests.delete(f"{fleet.url}/v1/keys/{name('k')}/sessions", timeout=CALL_S)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})

    # Stock clients come back after any end but this one, which says that the server wanted it.
    assert [session.until_ended() for session in ended] == ["server disconnect"] * 2
    line = journal.until_line(fleet.worker, event="disconnected", keys=[name("k")])
    assert (line["sessions"], line["unreachable"]) == (2, [])
    push(fleet, "still here", mids=[name("m")])
    assert other.next_msg() == "still here"
    until(lambda: get(fleet, f"/v1/online/keys?key={name('k')}") == {"keys": {name("k"): 0}}, _SOON_S, "nobody")


@pytest.mark.parametrize("path", ["/v1/keys/%00/sessions", f"/v1/keys/{'k' * 257}/sessions"])
def test_ending_the_sessions_of_what_is_no_key_is_refused(fleet: Fleet, path: str) -> None:
    answer = requests.delete(fleet.url + path, timeout=CALL_S)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "key"


def test_a_node_that_says_ready_is_known_as_one_that_delivers(fleet: Fleet) -> None:
    node = fleet.start_node()
    try:
        assert {each["url"]: each["fresh"] for each in get(fleet, "/v1/nodes")["nodes"]}[node.url]
    finally:
        node.process.terminate()
        fleet.nodes.remove(node)
