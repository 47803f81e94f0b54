"""RabbitMQ goes and comes back under load: what was accepted arrives, what cannot be accepted is refused in time.

Web, worker and nodes are never restarted here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.parts.faults import frozen, killed, stopped
from tests.parts.fleet import Fleet
from tests.parts.listener import Listener
from tests.parts.load import Load, settle
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.views import ready

pytestmark = pytest.mark.services

_PER_SECOND = 150
_ANSWER_S = 2.0
_READY_AGAIN_S = 20.0


def _frozen(broker: RabbitMQ) -> AbstractContextManager[None]:
    return frozen(broker.child)


@pytest.fixture
def listeners(fleet: Fleet) -> Iterator[list[Listener]]:
    sessions = [Listener(f"b{number}").connect(fleet.nodes[number % 2].url) for number in range(4)]
    yield sessions
    for session in sessions:
        session.leave()


@pytest.mark.parametrize("fault", [stopped, killed, _frozen], ids=["stopped", "killed", "frozen"])
def test_accepted_pushes_outlive_a_broker_that_is(
    fleet: Fleet,
    broker: RabbitMQ,
    listeners: list[Listener],
    fault: Callable[[RabbitMQ], AbstractContextManager[None]],
    request: pytest.FixtureRequest,
) -> None:
    pids = [child.pid for child in (fleet.web, fleet.worker, *(node.process for node in fleet.nodes))]
    keys = [listener.key for listener in listeners]
    with Load(fleet, keys, per_second=_PER_SECOND, threads=6) as load:
        load.until_more(_PER_SECOND)
        with fault(broker):
            refused = len(load.refused)
            until(lambda: len(load.refused) >= refused + _PER_SECOND, 10, "pushes refused")
        load.until_more(_PER_SECOND)
    account = settle(load, listeners, 30)
    print(f"broker {request.node.callspec.id}: {account}")

    assert not load.broken
    assert account.lost == 0
    assert account.duplicates == 0
    assert {answer.status for answer in load.refused} == {503}
    assert all(answer.retry_after for answer in load.refused), "a 503 without Retry-After"
    assert account.slowest_refusal_s < _ANSWER_S
    for url in (fleet.url, fleet.worker_url, *(node.url for node in fleet.nodes)):
        until(lambda url=url: ready(url)[0] == 200, _READY_AGAIN_S, f"{url} ready again")  # type: ignore[misc]
    assert pids == [child.pid for child in (fleet.web, fleet.worker, *(node.process for node in fleet.nodes))]
