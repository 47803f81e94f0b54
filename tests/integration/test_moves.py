"""Sessions that have just come, or have just moved, miss no push."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from signal import SIGCONT, SIGSTOP

import pytest
import redis as redis_client

from tests.integration.conftest import Connect
from tests.integration.sending import delivered, fates, push
from tests.parts.clients import Client
from tests.parts.fleet import Fleet, Node
from tests.parts.raw import RawWebSocket

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_WAIT_S = 5.0


@contextmanager
def _paused(node: Node) -> Iterator[None]:
    node.process.signal(SIGSTOP)
    try:
        yield
    finally:
        node.process.signal(SIGCONT)


@contextmanager
def _looked_up(store: "redis_client.Redis", name: str) -> Iterator[threading.Event]:
    """Give an event that is set when somebody reads the hash *name*."""
    seen, listening = threading.Event(), threading.Event()

    def listen() -> None:
        with store.monitor() as monitor:  # type: ignore[no-untyped-call]
            listening.set()
            for heard in monitor.listen():
                if heard["command"].lower() == f"hkeys {name}".lower():
                    seen.set()
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert listening.wait(_WAIT_S)
    yield seen
    thread.join(_WAIT_S)


def test_a_key_that_moved_after_it_was_looked_up_is_looked_up_again_and_reached(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    old, new = fleet.nodes
    session = connect(new, key=name("mover"))
    entry = f"{fleet.namespace}:dir:{name('mover')}"
    with redis_client.Redis.from_url(fleet.store_url, decode_responses=True) as store:
        # As if the session were still on the old node: it left there, and came here, during the push.
        old_id, new_id = old.node_id, new.node_id
        store.hset(entry, old_id, "1")
        store.hdel(entry, new_id)
        with _looked_up(store, entry) as looked_up, _paused(old):
            push_id = push(fleet, keys=[name("mover")])
            assert looked_up.wait(_WAIT_S)
            store.hset(entry, new_id, "1")
            store.hdel(entry, old_id)
    assert session.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)


def test_a_field_left_for_a_node_without_the_session_does_no_harm(fleet: Fleet, connect: Connect, name: Name) -> None:
    session = connect(fleet.nodes[0], key=name("k"))
    entry = f"{fleet.namespace}:dir:{name('k')}"
    with redis_client.Redis.from_url(fleet.store_url, decode_responses=True) as store:
        store.hset(entry, fleet.nodes[1].node_id, "1")
        store.hset(entry, "127.0.0.1:1#dead", "1")
        push_id = push(fleet, keys=[name("k")])
        assert session.next_push()["push_id"] == push_id
        assert fates(fleet, push_id) == delivered(keys=1, sessions=1)
        store.delete(entry)


def test_ready_waits_for_the_store_to_know_the_session(fleet: Fleet) -> None:
    with redis_client.Redis.from_url(fleet.store_url) as store, RawWebSocket(fleet.nodes[0]) as raw:
        store.execute_command("CLIENT", "PAUSE", "2000", "WRITE")
        try:
            raw.send("40{}")
            assert raw.receive().startswith('40{"sid":')
            for _ in range(3):  # would come after a ready that is sent without waiting
                raw.send('421["accept",null]')
                assert raw.receive() == '431[{"ops":null}]'
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        assert raw.receive().startswith('42["ready",')


def test_a_push_right_after_ready_always_arrives(fleet: Fleet, name: Name) -> None:
    def come_and_get_it(number: int) -> str:
        key = name(f"fresh-{number}")
        with Client(fleet.nodes[number % 2], {"key": key}) as session:
            push(fleet, number, keys=[key])
            return f"{key} got {session.next_msg()}"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(come_and_get_it, range(100)))
    assert answers == [f"{name(f'fresh-{number}')} got {number}" for number in range(100)]


def test_a_push_right_after_the_answer_to_join_always_arrives(fleet: Fleet, connect: Connect, name: Name) -> None:
    session = connect(fleet.nodes[0])
    for number in range(50):
        room = name(f"room-{number}")
        session.ask("join", room)
        push(fleet, number, rooms=[room])
        assert session.next_msg() == number
        session.ask("leave", room)


def test_a_newer_session_survives_the_late_end_of_an_older_one(fleet: Fleet, connect: Connect, name: Name) -> None:
    old = connect(fleet.nodes[0], key=name("k"))
    new = connect(fleet.nodes[1], key=name("k"))
    old.close()
    push_id = push(fleet, keys=[name("k")])
    assert new.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)
