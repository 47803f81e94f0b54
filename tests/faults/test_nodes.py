"""A node that is killed, frozen, or late with its goodbye costs nobody else a push."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.conftest import LEASE_S
from tests.parts.faults import frozen
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.views import fate, left_in_store, nodes, online

pytestmark = pytest.mark.services

_SLACK_S = 1.5  # for polls and a busy machine


def _push(fleet: Fleet, **body: object) -> str:
    answer = fleet.push({"msg": 1, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["push_id"])


@pytest.fixture
def late(fleet: Fleet) -> Iterator[list[Listener]]:
    """Listeners that a test appends leave at its end."""
    listeners: list[Listener] = []
    yield listeners
    for listener in listeners:
        listener.leave()


def test_a_killed_node_is_out_within_its_lease_and_nothing_of_it_stays(fleet: Fleet, late: list[Listener]) -> None:
    doomed, survivor = fleet.nodes[0], fleet.nodes[1]
    incarnation = doomed.node_id
    moving = Listener("moving", rooms=["live://1"]).connect(doomed.url)
    staying = Listener("staying", rooms=["live://1"]).connect(survivor.url)
    late += [moving, staying]
    both = _push(fleet, rooms=["live://1"])
    for listener in (moving, staying):
        listener.wait_for([both], 5)
    assert left_in_store(fleet, incarnation), "nothing to sweep: the test would prove nothing"

    doomed.process.kill()
    killed_at = time.monotonic()
    room_push = _push(fleet, rooms=["live://1"])
    staying.wait_for([room_push], 2)
    reached_s = time.monotonic() - killed_at

    back = Listener("moving").connect(survivor.url)
    late.append(back)
    back.wait_for([_push(fleet, keys=["moving"])], 5)

    until(lambda: doomed.grpc not in nodes(fleet), LEASE_S + _SLACK_S, "the dead node out of /v1/nodes")
    gone_s = time.monotonic() - killed_at
    assert online(fleet, "moving") == 1, "only its new session counts"
    until(lambda: not left_in_store(fleet, incarnation), 2 * LEASE_S, "everything of the dead incarnation swept")
    print(f"room push reached the living node after {reached_s:.2f} s; out after {gone_s:.2f} s; "
          f"swept after {time.monotonic() - killed_at:.2f} s")  # fmt: skip
    doomed.process.start()
    fleet.wait_ready()


def test_a_late_disconnect_never_erases_the_newer_session(fleet: Fleet, late: list[Listener]) -> None:
    first, second = fleet.nodes
    rounds = 20
    for number in range(rounds):
        old_node, new_node = (first, second) if number % 2 else (second, first)
        key = f"late-{number}"
        old = Listener(key).connect(old_node.url)
        new = Listener(key).connect(new_node.url)
        late.append(new)
        old.leave()
        until(lambda key=key: online(fleet, key) == 1, 5, f"one session of {key}")  # type: ignore[misc]
    offline = fate(fleet, "offline")
    for number, listener in enumerate(late):
        listener.wait_for([_push(fleet, keys=[f"late-{number}"])], 5)
    print(f"{rounds} late disconnects, {len(late)} pushes arrived, offline {fate(fleet, 'offline') - offline}")


def test_one_key_moving_to_and_fro_is_reached_wherever_it_said_ready_last(fleet: Fleet) -> None:
    before, moves = None, 20
    for number in range(moves):
        now = Listener("to-and-fro").connect(fleet.nodes[number % 2].url)
        if before is not None and number % 3:
            before.leave()
        sent = _push(fleet, keys=["to-and-fro"])
        if before is not None and not number % 3:
            before.leave()
        now.wait_for([sent], 5)
        before = now
    assert before is not None
    before.leave()
    until(lambda: online(fleet, "to-and-fro") == 0, 5, "nobody left")
    print(f"{moves} moves, each push reached the newest session")


def test_a_frozen_node_does_not_hold_up_the_others_and_comes_back_as_another(fleet: Fleet) -> None:
    ill, well = fleet.nodes
    with Listener("ill").connect(ill.url) as on_ill, Listener("well").connect(well.url) as on_well:
        old = ill.node_id
        with Load(fleet, ["well"], per_second=50) as quiet:
            quiet.until_more(100)
        assert settle(quiet, [on_well], 10).lost == 0
        quiet_latencies = on_well.latencies[:]
        on_well.latencies.clear()
        with frozen(ill.process):
            with Load(fleet, ["well", "ill"], per_second=50) as load:
                load.until_more(200)
            assert not load.refused
            to_well = {answer.push_id for answer in load.accepted if answer.key == "well"}
            on_well.wait_for(to_well, 10)
            until(lambda: ill.grpc not in nodes(fleet), LEASE_S + _SLACK_S, "the frozen node out of /v1/nodes")
            assert well.grpc in nodes(fleet)
        until(lambda: nodes(fleet).get(ill.grpc, {}).get("node", old) != old, 5, "a new incarnation")
        until(lambda: bool(nodes(fleet)[ill.grpc]["fresh"]), 10, "its data path proven again")
        on_ill.wait_for([_push(fleet, keys=["ill"])], 5)
        assert on_ill.connected, "its session lived through it"
        until(lambda: not left_in_store(fleet, old), 2 * LEASE_S, "the old incarnation swept")
        assert not [push_id for push_id, count in on_ill.counts().items() if count > 1]
        print(
            f"to the other node, p50 and p99 in ms: quiet {_quantiles(quiet_latencies)}, beside a frozen node "
            f"{_quantiles(on_well.latencies)}; all {len(to_well)} arrived; the frozen one's session got "
            f"{len(on_ill.pushes)}, none twice"
        )


def _quantiles(seconds: list[float]) -> str:
    inner = sorted(seconds)
    return f"{inner[len(inner) // 2] * 1000:.0f} and {inner[int(len(inner) * 0.99)] * 1000:.0f}"
