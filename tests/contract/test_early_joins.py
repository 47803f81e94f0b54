"""A client that joins a room in the same breath as it connects, before ``ready``, as vanilla clients do."""

import json
import uuid
from typing import Any

import pytest

from tests.parts.kept import Kept, open_kept
from tests.parts.wire import WebSocket, Wires

pytestmark = pytest.mark.services

_NAMESPACE = f"t{uuid.uuid4().hex[:12]}"
SETTINGS = {"CLOUDPUSH_STORE_NAMESPACE": _NAMESPACE}


@pytest.fixture
def kept(redis: str) -> Kept:
    """The inboxes of the module's node."""
    return open_kept(redis, store_namespace=_NAMESPACE)


def _join_at_once(wires: Wires, ask: dict[str, Any]) -> WebSocket:
    opened = wires.websocket()
    opened.open()
    opened.send("40", f'421["join",{json.dumps(ask)}]')
    return opened


def _until_joined(opened: WebSocket) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read up to the join's answer, and what is pushed before and after it."""
    pushes, joined = [], None
    while joined is None or len(pushes) < 2:
        packet = opened.receive()
        if packet.startswith("431"):
            (joined,) = json.loads(packet.removeprefix("431"))
        elif packet[packet.find("[") :].startswith('["push"'):
            pushes.append(json.loads(packet[packet.find("[") :])[1])
    return joined, pushes


def test_it_gets_the_history_that_it_asks_for(wires: Wires, kept: Kept) -> None:
    room = uuid.uuid4().hex
    for number in range(5):
        kept.append(f"room:{room}", f"p{number}")
    joined, pushes = _until_joined(_join_at_once(wires, {"room": room, "history": 2}))
    assert joined["cursor"]["offset"] == 3
    assert [each["offset"] for each in pushes] == [4, 5]


def test_it_goes_on_after_its_cursor(wires: Wires, kept: Kept) -> None:
    room = uuid.uuid4().hex
    places = [kept.append(f"room:{room}", f"p{number}").place for number in range(5)]
    ask = {"room": room, "after": places[2]._asdict()}
    joined, pushes = _until_joined(_join_at_once(wires, ask))
    assert joined["recovered"] is True
    assert [each["offset"] for each in pushes] == [4, 5]
