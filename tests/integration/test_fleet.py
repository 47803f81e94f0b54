"""A whole fleet on real RabbitMQ and Redis: a push reaches its session, whichever node holds it."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudpush.errors import Refused
from cloudpush.events import Message, Ready
from cloudpush.listener import Listener
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services


class Session:
    """A listener on a thread of its own, and what it got."""

    def __init__(self, node_url: Callable[[], str], polling: bool, **auth: Any) -> None:
        self.got: list[Message] = []
        self.ready: list[Ready] = []
        self._listener = Listener(
            node_url, on_message=self.got.append, on_ready=self.ready.append, polling=polling, **auth
        )
        self._thread = threading.Thread(target=self._listener.run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        until(lambda: bool(self.ready), 10, "the event ready")

    def stop(self) -> None:
        self._listener.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def session(node_url: str, *, polling: bool = False, **auth: Any) -> Iterator[Session]:
    """A session that is ready."""
    one = Session(lambda: node_url, polling, **auth)
    one.start()
    try:
        yield one
    finally:
        one.stop()


@pytest.mark.parametrize("polling", [False, True], ids=["websocket", "polling"])
def test_a_push_reaches_its_keys_on_both_nodes_once(fleet: Fleet, polling: bool) -> None:
    here, there = (f"{name}-{uuid.uuid4().hex}" for name in ("here", "there"))
    with (
        session(fleet.nodes[0].url, key=here, polling=polling) as first,
        session(fleet.nodes[1].url, key=there, polling=polling) as second,
    ):
        assert {first.ready[0].node, second.ready[0].node} == {node.node_id for node in fleet.nodes}
        answer = fleet.push({"keys": [here, there], "msg": {"n": 1}, "op": 7})
        assert answer.status_code == 202
        fleet.push({"keys": [here, there], "msg": "last"})
        for one, key in ((first, here), (second, there)):
            until(lambda one=one: "last" in [message.msg for message in one.got], 10, "the last message")  # type: ignore[misc]
            assert [(m.op, m.msg, m.key) for m in one.got if m.push_id == answer.json()["push_id"]] == [
                (7, {"n": 1}, key)
            ]


def test_a_refused_session_ends_its_listener_with_the_reason(fleet: Fleet) -> None:
    listener = Listener(lambda: fleet.nodes[0].url, key="room:not-a-plain-key", on_message=lambda _: None)
    with pytest.raises(Refused) as refused:
        listener.run(timeout_s=10)
    assert (refused.value.code, refused.value.field) == ("invalid_key", "key")


@pytest.mark.parametrize("polling", [False, True], ids=["websocket", "polling"])
def test_a_listener_whose_time_is_over_has_lost_nothing(fleet: Fleet, polling: bool) -> None:
    ready: list[Ready] = []
    lost: list[str] = []
    listener = Listener(
        lambda: fleet.nodes[0].url,
        on_message=lambda _: None,
        on_ready=ready.append,
        on_lost=lost.append,
        polling=polling,
    )
    assert listener.run(timeout_s=1) is False
    assert (len(ready), lost) == (1, [])


def test_a_listener_finds_another_node_when_its_own_drains(fleet: Fleet) -> None:
    extra = fleet.start_node()
    key = f"mover-{uuid.uuid4().hex}"
    urls = iter([extra.url])
    moving = Session(lambda: next(urls, fleet.nodes[0].url), False, key=key)
    moving.start()
    try:
        extra.process.terminate()
        until(lambda: len(moving.ready) > 1, 20, "ready on another node")
        assert moving.ready[-1].node == fleet.nodes[0].node_id
        fleet.push({"keys": [key], "msg": "found you"})
        until(lambda: bool(moving.got), 10, "a message after the move")
    finally:
        moving.stop()
        fleet.nodes.remove(extra)
