"""One node that stands still under load is nobody else's trouble: logic takes pushes, the others get theirs at once.

Faults of single calls and of leases are in test_nodes.py; here the node has more to do than workers may hold for it.
"""

import time
from collections.abc import Iterator

import pytest

from tasks.settings import TaskSettings
from tests.faults.conftest import QUICK
from tests.parts.faults import frozen
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.views import metric, nodes

pytestmark = pytest.mark.services

_FLOOD_A_SECOND = 300
_WELL_A_SECOND = 50
_ENOUGH = 1_500
_ARRIVES_S = 10.0
_ALL_S = 60.0


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    # The node must not be given up for standing still, nor the pushes to it for waiting.
    return {**QUICK, "CLOUDPUSH_LEASE_TTL_S": "60", "CLOUDPUSH_DEFAULT_TTL_S": "600", "CLOUDPUSH_MAX_ATTEMPTS": "30"}


@pytest.fixture
def sessions(fleet: Fleet) -> Iterator[tuple[Listener, Listener]]:
    on_ill, on_well = (Listener(key).connect(node.url) for key, node in zip(("ill", "well"), fleet.nodes, strict=True))
    yield on_ill, on_well
    on_ill.leave()
    on_well.leave()


def test_a_node_that_stands_still_under_a_flood_holds_up_nobody_else(
    fleet: Fleet, sessions: tuple[Listener, Listener]
) -> None:
    on_ill, on_well = sessions
    ill = fleet.nodes[0]
    with Load(fleet, ["well"], per_second=_WELL_A_SECOND) as alone:
        alone.until_more(100)
    assert settle(alone, [on_well], _ARRIVES_S).lost == 0
    quiet, beside = on_well.latencies[:], on_well.latencies
    beside.clear()
    with frozen(ill.process):
        with (
            Load(fleet, ["ill"], per_second=_FLOOD_A_SECOND) as flood,
            Load(fleet, ["well"], per_second=_WELL_A_SECOND) as load,
        ):
            flood.until_more(_ENOUGH)
        to_well = {answer.push_id for answer in load.accepted}
        on_well.wait_for(to_well, _ARRIVES_S)  # while the other still stands
        assert ill.grpc in nodes(fleet)
        assert (load.refused, flood.refused, load.broken, flood.broken) == ([], [], [], [])
        had_meanwhile = len(on_ill.pushes)
    thawed_at = time.monotonic()
    accounts = settle(load, [on_well], _ARRIVES_S), settle(flood, [on_ill], _ALL_S)
    print(
        f"p50 and p99 in ms to the other node: quiet {_shown(quiet)}, beside one that stands {_shown(beside)}; "
        f"{accounts[0]}; the other's flood, {time.monotonic() - thawed_at:.1f} s after it went on: {accounts[1]}"
    )
    assert had_meanwhile == 0
    assert [(account.lost, account.duplicates) for account in accounts] == [(0, 0)] * 2
    # Whoever waits behind calls to the node that stands waits for their deadline, one round of them or more.
    assert _quantile(beside, 0.5) < TaskSettings().node_deadline_s / 4
    until(lambda: metric(fleet.url, "cloudpush_queue_depth", queue="normal") == 0, _ALL_S, "an empty queue")


def _quantile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(len(seconds) * share)]


def _shown(seconds: list[float]) -> str:
    return f"{_quantile(seconds, 0.5) * 1000:.0f} and {_quantile(seconds, 0.99) * 1000:.0f}"
