"""What the node asks of its connections: hand them events, end them."""

import json
from collections.abc import Iterator

import orjson
import pytest

from cloud_node.hub import Session
from cloud_node.identity import Identity
from cloud_node.wire.recipients import Recipients
from tests.fakes.stack import Stack, stack
from tests.fakes.wire import Peer


@pytest.fixture
def node() -> Iterator[Stack]:
    with stack() as it:
        yield it


def _sessions(node: Stack, count: int) -> tuple[list[Session], list[Peer]]:
    connected = [node.connect() for _ in range(count)]
    sessions = [session for sid, _, _ in connected if (session := node.hub.get(sid)) is not None]
    assert len(sessions) == count
    return sessions, [peer for _, _, peer in connected]


def _to(*sessions: Session) -> Recipients:
    return Recipients([session.connection for session in sessions])


def test_an_event_goes_to_everybody_with_a_body_copied_as_it_stands(node: Stack) -> None:
    sessions, peers = _sessions(node, 3)
    body = orjson.Fragment(b'{"a": 1.50, "b" :[]}')
    assert node.transport.emit(_to(*sessions), "push", {"op": 9, "msg": body}) == 3
    assert [peer.texts for peer in peers] == [['42["push",{"op":9,"msg":{"a": 1.50, "b" :[]}}]']] * 3


def test_an_event_for_one_is_handed_to_it_alone(node: Stack) -> None:
    sessions, peers = _sessions(node, 2)
    assert node.transport.emit(_to(sessions[1]), "push", 1) == 1
    assert node.transport.send(sessions[0], "ready", {"key": "é"})
    assert [peer.texts for peer in peers] == [['42["ready",{"key":"é"}]'], ['42["push",1]']]


def test_a_session_that_has_ended_takes_nothing_and_says_so(node: Stack) -> None:
    (gone, never), _ = _sessions(node, 2)
    gone.connection.end("x")
    assert node.transport.emit(_to(gone), "push", 1) == 0
    assert not node.transport.send(gone, "push", 1)
    assert not node.transport.send(Session("s", Identity("a"), None), "push", 1)
    node.transport.drop(Session("s", Identity("a"), None))
    assert not never.connection.closed


def test_one_that_is_too_slow_took_nothing_is_counted_and_leaves_the_hub_in_the_same_step(node: Stack) -> None:
    (slow, quick), peers = _sessions(node, 2)
    body = "x" * 50_000
    taken = [node.transport.emit(_to(slow), "push", body) for _ in range(20)]
    assert 0 in taken
    assert taken[: taken.index(0)] == [1] * taken.index(0)
    assert set(taken[taken.index(0) :]) == {0}
    assert node.rig.slow == 1
    assert list(node.hub) == [quick]
    assert node.reasons == [node.sio.reason.TRANSPORT_ERROR]
    assert node.transport.send(quick, "push", 1)
    assert peers[1].texts == ['42["push",1]']


def test_what_is_emitted_in_a_batch_is_written_at_its_end_in_order(node: Stack) -> None:
    sessions, peers = _sessions(node, 2)
    both = _to(*sessions)
    with node.transport.batch():
        node.transport.emit(both, "a", 1)
        node.transport.emit(both, "b", 2)
        node.transport.send(sessions[0], "c", 3)
        assert [peer.texts for peer in peers] == [[], []]
    ab = ['42["a",1]', '42["b",2]']
    assert [peer.texts for peer in peers] == [[*ab, '42["c",3]'], ab]


def test_a_batch_that_fails_writes_what_it_has(node: Stack) -> None:
    sessions, peers = _sessions(node, 2)

    def fail() -> None:
        with node.transport.batch():
            node.transport.emit(_to(*sessions), "a", 1)
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        fail()
    node.transport.emit(_to(*sessions), "b", 2)
    assert [peer.texts for peer in peers] == [['42["a",1]', '42["b",2]']] * 2


def test_what_is_no_json_is_refused_before_anybody_gets_it(node: Stack) -> None:
    sessions, peers = _sessions(node, 2)
    for value in ("\ud800", object()):
        with pytest.raises(TypeError):
            node.transport.emit(_to(*sessions), "a", value)
    assert [peer.texts for peer in peers] == [[], []]


def test_a_dropped_session_gets_what_waits_and_a_reason_to_reconnect(node: Stack) -> None:
    (session,), (peer,) = _sessions(node, 1)
    with node.transport.batch():
        node.transport.send(session, "a", 1)
        for _ in range(2):
            node.transport.drop(session)
    assert peer.heard == [(1, b'42["a",1]'), (8, (1012).to_bytes(2, "big") + b"this node is stopping: reconnect")]
    assert node.reasons == [node.sio.reason.SERVER_DISCONNECT]
    assert len(node.hub) == 0


def test_a_dropped_session_that_polls_gets_what_waits_with_its_next_poll(node: Stack) -> None:
    connection = node.rig.polling()
    connection.received_all(["40"])
    (session,) = node.hub
    node.transport.send(session, "a", 1)
    node.transport.drop(session)
    packets = connection.poll()
    assert [packet[:2] for packet in packets] == [b"40", b"42", b"6"]


def test_a_kicked_session_is_told_not_to_come_back_and_its_connection_is_closed_later(node: Stack) -> None:
    (session,), (peer,) = _sessions(node, 1)
    node.transport.kick(session)
    assert peer.texts == ["41"]
    assert node.reasons == [node.sio.reason.SERVER_DISCONNECT]
    assert len(node.hub) == 0
    node.rig.pass_s(26)
    assert [opcode for opcode, _ in peer.heard] == [8]
    assert len(node.reasons) == 1


def test_the_connection_of_a_session_is_found_while_it_lives(node: Stack) -> None:
    sid, connection, _ = node.connect()
    assert node.transport.connection_of(sid) is connection
    assert node.transport.connection_of("nobody") is None
    connection.end("x")
    assert node.transport.connection_of(sid) is None


def test_an_event_is_what_python_socketio_would_send(node: Stack) -> None:
    (session,), (peer,) = _sessions(node, 1)
    data = {"op": 9, "msg": {"a": [1, None, "é\u2028"]}}
    node.transport.send(session, "push", data)
    node.sio.emit("push", data, to=session.sid)
    ours, theirs = peer.texts
    assert ours == theirs
    assert json.loads(ours[2:]) == ["push", data]
