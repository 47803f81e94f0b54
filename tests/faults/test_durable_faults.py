"""Each fault alone, then all together: for every push that got a 202, each handler sees 1..n once each, in order.

200 durable pushes/s to 200 keys on two nodes; 225 tabs, most with the browser SDK, reconnect and reload at random.  One
cloudpush, one Redis (AOF, fsync always) and one crowd for all of it; numbers go on from one test to the next.
"""

from collections.abc import Iterator

import pytest

from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.soak.account import Account
from tests.soak.callers import Callers
from tests.soak.crowd import Crowd, Manners
from tests.soak.load import PER_SECOND, make_cast
from tests.soak.ours import guarded
from tests.soak.rig import Ran, Rig
from tests.soak.schedule import Fault, every_fault, schedule

pytestmark = pytest.mark.services

SEED = 5
_LOAD_S = 4.0
_AT_S = 1.0
_TOGETHER_S = 60.0
_SETTLE_S = 60.0

FAULTS = {
    "the-rest-process-is-killed": ("kill", "web", 0.5),
    "a-worker-is-killed": ("kill", "worker-0", 1.0),
    "a-node-is-killed": ("kill", "node-0", 1.0),
    "rabbitmq-is-killed": ("kill", "rabbitmq", 0.5),
    "redis-is-killed": ("kill", "redis", 0.5),
    "the-rest-process-is-frozen": ("freeze", "web", 1.5),
    "a-worker-is-frozen": ("freeze", "worker-1", 2.0),
    "a-node-is-frozen-for-longer-than-its-lease": ("freeze", "node-1", 4.0),
    "rabbitmq-is-frozen": ("freeze", "rabbitmq", 2.0),
    "redis-is-frozen": ("freeze", "redis", 2.0),
    "grpc-calls-are-dropped": ("grpc-drop", "node-0", 3.0),
    "grpc-calls-come-late-and-reordered": ("grpc-delay", "node-1", 3.0),
    "grpc-calls-come-twice": ("grpc-duplicate", "node-0", 3.0),
    "grpc-answers-are-lost": ("grpc-lose-reply", "node-1", 3.0),
    "acks-are-lost": ("lose-acks", "clients", 3.0),
    "workers-are-cut-off-from-a-node": ("cut-workers", "node-0", 3.0),
    "a-node-is-cut-off-from-redis-for-longer-than-its-lease": ("cut-redis", "node-1", 4.0),
    "the-clock-of-a-node-jumps-ahead": ("clock-ahead", "node-0", 2.5),
    "the-clock-of-a-node-jumps-back": ("clock-back", "node-1", 2.5),
    "the-clock-of-a-worker-jumps-ahead": ("clock-ahead", "worker-0", 2.5),
    "the-clock-of-the-rest-process-jumps-back": ("clock-back", "web", 2.5),
    "pages-are-reloaded-in-mid-burst": ("reloads", "clients", 2.5),
    "clients-reconnect-all-at-once": ("reconnects", "clients", 2.5),
}


@pytest.fixture(scope="module")
def rig(broker: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    home = tmp_path_factory.mktemp("durable")
    cast = make_cast("durable")
    account = Account(cast.tabs)
    redis = RedisServer(home / "redis", fsync="always")
    try:
        redis.start()
        with (
            guarded(home, broker, redis, broker.add_vhost("durable")) as stand,
            Crowd(home, cast, account, rest=stand.rest, nodes=stand.node_urls, seed=SEED, manners=Manners()) as crowd,
        ):
            crowd.until_open()
            callers = Callers(stand.door, cast.keys, account, per_second=PER_SECOND, seed=SEED)
            yield Rig(stand, crowd, callers, account, _SETTLE_S)
    finally:
        redis.kill()


def _kept(ran: Ran) -> None:
    assert not ran.broken, ran
    assert (ran.totals.lost, ran.totals.duplicates_at_handler, ran.totals.out_of_order) == (0, 0, 0), ran
    assert (ran.totals.never_accepted, ran.totals.other_push_id, ran.totals.unexpected) == (0, 0, 0), ran
    assert ran.totals.gaps_reported == 0, f"nothing was lost, but clients were told so: {ran}"


@pytest.mark.parametrize(("kind", "target", "lasts_s"), FAULTS.values(), ids=FAULTS.keys())
def test_every_202_arrives_once_and_in_order_though(
    rig: Rig, kind: str, target: str, lasts_s: float, request: pytest.FixtureRequest
) -> None:
    ran = rig.run(_LOAD_S, [Fault(_AT_S, kind, target, lasts_s)])
    print(f"{request.node.callspec.id}: {ran}")
    assert ran.faults == {kind: 1}
    assert ran.totals.accepted, "there was no load: the test would prove nothing"
    _kept(ran)


def test_every_202_arrives_once_and_in_order_under_all_faults_together(rig: Rig) -> None:
    ran = rig.run(_TOGETHER_S, schedule(SEED, _TOGETHER_S, every_fault()))
    faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(ran.faults.items()))
    print(f"seed {SEED}, {sum(ran.faults.values())} faults ({faults}): {ran}")
    assert len(ran.faults) > len(every_fault()) / 5, "hardly any fault: the test would prove little"
    _kept(ran)
