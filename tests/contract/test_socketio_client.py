"""A running node serves the client that browsers have through a whole life, over each of the ways it may connect.

The client offers permessage-deflate, emits binary, upgrades, and comes back by itself after the node closed on it.
"""

from collections.abc import Iterator

import pytest

from tests.parts.vanilla import Vanilla
from tests.parts.wire import Wires

pytestmark = pytest.mark.services

_UNKNOWN = {"error": {"code": "unknown_event", "message": "there is no event 'nosuch'"}}


@pytest.fixture
def transports(request: pytest.FixtureRequest) -> str:
    """What the client may use, in its order."""
    return str(request.param)


@pytest.fixture
def life(wires: Wires, transports: str) -> Iterator[Vanilla]:
    """A client that lives over these."""
    run = Vanilla("life", wires.node, {"key": f"life-{transports}"}, transports)
    yield run
    run.close()


@pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"], indirect=True)
def test_it_emits_binary_receives_and_comes_back_after_the_node_closed_on_it(
    wires: Wires, life: Vanilla, transports: str
) -> None:
    sessions = set()
    for again in (False, True):
        ready = life.step("ready")
        sessions.add(ready["session"])
        assert life.step("carried") == {"by": transports.rpartition(",")[2], "extensions": ""}
        assert life.step("ack") == _UNKNOWN
        wires.push(ready["key"], "你好" * 10_000)
        assert life.step("push") == "你好" * 10_000
        ended = life.step("disconnect")
        assert ended == "io client disconnect" if again else ended in ("transport close", "transport error")
    assert len(sessions) == 2
    assert life.until_ended() == 0
