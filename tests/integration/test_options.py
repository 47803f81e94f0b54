"""What a push may carry besides its targets: an op that sessions filter by, a priority, a life, a server."""

import time
from collections.abc import Callable

import pytest

from proto.queues import Priority
from tests.integration.conftest import Connect
from tests.integration.sending import delivered, fates, push
from tests.parts import journal, letters
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

Name = Callable[[str], str]


def test_a_session_gets_only_the_ops_that_it_accepts(fleet: Fleet, connect: Connect, name: Name) -> None:
    picky = connect(fleet.nodes[0], key=name("picky"), accepts=[7, 8])
    filtered = push(fleet, keys=[name("picky")], op=9)
    assert fates(fleet, filtered) == {"filtered": 1, "sessions": 0}
    push(fleet, keys=[name("picky")], op=8)
    assert picky.next_push()["op"] == 8


def test_the_accept_event_changes_what_a_session_accepts(fleet: Fleet, connect: Connect, name: Name) -> None:
    key = name("k")
    session = connect(fleet.nodes[0], key=key)
    assert session.ask("accept", [8, 7, 8]) == {"ops": [7, 8]}
    assert fates(fleet, push(fleet, keys=[key], op=9)) == {"filtered": 1, "sessions": 0}
    assert session.ask("accept", []) == {"ops": []}
    assert fates(fleet, push(fleet, keys=[key], op=7)) == {"filtered": 1, "sessions": 0}
    assert session.ask("accept", None) == {"ops": None}
    push(fleet, keys=[key], op=2**31 - 1)
    assert session.next_push()["op"] == 2**31 - 1


def test_a_session_that_filters_does_not_keep_the_push_from_another_of_its_key(
    fleet: Fleet, connect: Connect, name: Name
) -> None:
    connect(fleet.nodes[0], key=name("k"), accepts=[1])
    open_minded = connect(fleet.nodes[0], key=name("k"))
    push_id = push(fleet, keys=[name("k")], op=2)
    assert open_minded.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=1, sessions=1)


@pytest.mark.parametrize("with_boot", [False, True], ids=["host:port", "host:port#boot"])
def test_a_push_to_an_explicit_server_reaches_the_sessions_of_that_node_alone(
    fleet: Fleet, connect: Connect, name: Name, with_boot: bool
) -> None:
    here, there = [connect(node, key=name("k"), rooms=[name("r")]) for node in fleet.nodes]
    node = fleet.nodes[1]
    server = node.node_id if with_boot else node.grpc

    push_id = push(fleet, keys=[name("k")], rooms=[name("r")], server=server)

    assert there.next_push()["push_id"] == push_id
    assert fates(fleet, push_id) == delivered(keys=2, sessions=1)
    push(fleet, "next", keys=[name("k")])
    assert here.next_msg() == "next"


@pytest.mark.parametrize("form", ["{grpc}#00000000", "127.0.0.1:1"], ids=["older boot", "stranger"])
def test_a_push_to_an_unknown_server_ends_as_a_dead_letter_and_is_logged(
    fleet: Fleet, connect: Connect, name: Name, form: str
) -> None:
    node = fleet.nodes[0]
    session = connect(node, key=name("k"))
    server = form.format(grpc=node.grpc)

    push_id = push(fleet, {"lost": True}, keys=[name("k")], server=server)

    letter = letters.dead_letter(fleet.broker_url, push_id)
    assert letter["reason"] == "unknown_server"
    assert letter["details"] == f"no live node is called {server!r}"
    assert letter["payload"]["server"] == server
    assert letter["payload"]["body"] == '{"lost":true}'
    line = journal.until_line(fleet.worker, push_id=push_id, level="error", event="unknown server: not sent")
    assert line["server"] == server
    assert fates(fleet, push_id) == {"failed": 1, "sessions": 0}
    push(fleet, "next", keys=[name("k")])
    assert session.next_msg() == "next"


def test_priorities_travel_through_queues_of_their_own_and_an_old_push_expires_there(
    spare_fleet: Fleet, connect: Connect, name: Name
) -> None:
    fleet = spare_fleet
    session = connect(fleet.nodes[0], key=name("k"))
    fleet.worker.terminate()
    try:
        sent = {priority: push(fleet, priority, keys=[name("k")], priority=priority) for priority in Priority}
        short_lived = push(fleet, "too late", keys=[name("k")], ttl_s=1)
        expires_s = time.time() + 1
        for priority, push_id in sent.items():
            others = set(sent.values()) - {push_id}
            waiting = letters.waiting_pushes(fleet.broker_url, priority.queue)
            assert push_id in waiting, f"{priority} waits in {priority.queue}"
            assert not others & set(waiting), f"nothing else waits in {priority.queue}"
        until(lambda: time.time() > expires_s, 5, "the end of ttl_s")
    finally:
        fleet.worker.start()
        fleet.wait_ready()
    assert sorted(session.next_msg() for _ in sent) == sorted(sent)
    assert fates(fleet, short_lived) == {"expired": 1, "sessions": 0}
    assert session.pushes_so_far() == []
