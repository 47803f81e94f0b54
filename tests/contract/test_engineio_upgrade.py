"""A running node against the upgrade of the Engine.IO protocol, revision 4: polling first, then websocket.

Whatever is sent while it goes on, from either side, arrives once and in order; an upgrade that does not come about
leaves the session on polling, as if nobody had tried.  Interleavings: the poll is pending or not when the probe comes;
pushes before the probe, between probe and ``5``, and after; the websocket ends before the probe, after it, with and
without a close frame; a second websocket comes during and after.

Not required, because the reference server takes it too: that ``5`` without a probe before it is refused.
"""

import json
from collections.abc import Callable

import pytest

from tests.parts.wire import NOOP, WEBSOCKET, Polling, WebSocket, Wires

pytestmark = pytest.mark.services


@pytest.fixture
def polling(wires: Wires) -> Polling:
    """A session over polling, connected; its key is in ``key``."""
    session = wires.polling()
    session.key = session.connect()["key"]
    return session


@pytest.fixture
def upgraded(wires: Wires, polling: Polling) -> WebSocket:
    """The websocket of that session, upgraded."""
    websocket = wires.probe(polling)
    websocket.send("5")
    websocket.ask()
    return websocket


def _goes_on(wires: Wires, polling: Polling) -> None:
    """Show that a session is on polling and whole: a pending poll gets what is pushed, and an upgrade works."""
    poll = polling.poll()
    wires.push(polling.key, "still here")
    polling.take(poll.answer())
    assert polling.next_msgs(1) == ["still here"]
    polling.ask()
    websocket = wires.probe(polling)
    websocket.send("5")
    websocket.ask()


def test_a_probe_frees_the_pending_poll_and_5_completes_the_upgrade(wires: Wires, polling: Polling) -> None:
    pending = polling.poll()
    websocket = wires.websocket(f"{WEBSOCKET}&sid={polling.sid}")
    websocket.send("2probe")
    assert websocket.receive() == "3probe"
    assert pending.answer().packets == ["6"]
    websocket.send("5")
    websocket.ask()


def test_a_poll_that_comes_after_the_probe_is_freed_too(wires: Wires, polling: Polling) -> None:
    websocket = wires.probe(polling)
    assert polling.get().packets == ["6"]
    websocket.send("5")
    websocket.ask()


def test_a_client_need_not_wait_for_the_answer_to_its_probe(wires: Wires, polling: Polling) -> None:
    websocket = wires.websocket(f"{WEBSOCKET}&sid={polling.sid}")
    websocket.send("2probe", "5", '421["nosuch"]', '422["nosuch"]')
    assert websocket.receive() == "3probe"
    assert [websocket.receive()[:3] for _ in range(2)] == ["431", "432"]


def test_a_session_may_connect_in_socketio_after_its_upgrade(wires: Wires) -> None:
    session = wires.polling()
    websocket = wires.probe(session)
    websocket.send("5")
    websocket.connect()
    websocket.ask()


@pytest.mark.parametrize("pending", [True, False], ids=["poll pending", "no poll"])
def test_what_is_pushed_during_an_upgrade_arrives_once_and_in_order(
    wires: Wires, polling: Polling, pending: bool
) -> None:
    wires.push(polling.key, 0, 1)
    assert polling.next_msgs(2) == [0, 1]
    poll = polling.poll() if pending else None
    websocket = wires.probe(polling)
    if poll is not None:
        assert poll.answer().packets == ["6"]
    wires.push(polling.key, *range(2, 30))
    websocket.send("5")
    wires.push(polling.key, *range(30, 60))
    assert websocket.next_msgs(58) == list(range(2, 60))
    websocket.ask()


def test_what_waits_at_the_probe_is_given_to_the_poll_or_to_the_websocket_but_once(
    wires: Wires, polling: Polling
) -> None:
    wires.push(polling.key, *range(10))
    websocket = wires.probe(polling)
    polled = polling.get().packets
    websocket.send("5")
    wires.push(polling.key, 10)
    by_poll = [json.loads(packet[2:])[1]["msg"] for packet in polled if packet != NOOP]
    assert by_poll + websocket.next_msgs(11 - len(by_poll)) == list(range(11))
    websocket.ask()


def test_a_noop_is_for_polls_and_never_sent_over_the_websocket(wires: Wires, polling: Polling) -> None:
    websocket = wires.probe(polling)
    websocket.send("5", '421["nosuch"]')
    assert websocket.frame()[1][:3] == b"431"


def test_what_a_client_posts_during_an_upgrade_is_not_lost(wires: Wires, polling: Polling) -> None:
    websocket = wires.probe(polling)
    polling.send('421["nosuch"]', '422["nosuch"]')
    websocket.send("5", '423["nosuch"]')
    assert [websocket.receive()[:3] for _ in range(3)] == ["431", "432", "433"]
    websocket.ask()


def _closes(websocket: WebSocket) -> None:
    websocket.close(orderly=True)


def _breaks_off(websocket: WebSocket) -> None:
    websocket.close()


@pytest.mark.parametrize("ends", [_closes, _breaks_off])
@pytest.mark.parametrize("probed", [True, False], ids=["probed", "not probed"])
def test_an_upgrade_given_up_leaves_the_session_on_polling(
    wires: Wires, polling: Polling, probed: bool, ends: Callable[[WebSocket], None]
) -> None:
    pending = polling.poll()
    websocket = wires.probe(polling) if probed else wires.websocket(f"{WEBSOCKET}&sid={polling.sid}")
    wires.sync()
    wires.push(polling.key, "waits")
    ends(websocket)
    wires.sync()
    polling.take(pending.answer())
    assert polling.next_msgs(1) == ["waits"]
    _goes_on(wires, polling)


@pytest.mark.parametrize("packet", ["4hello", '421["nosuch"]', "2", "2wrong", "3probe", "1", "6", "xyz", "", b"2probe"])
def test_a_websocket_that_begins_with_anything_but_a_probe_is_closed(
    wires: Wires, polling: Polling, packet: str | bytes
) -> None:
    websocket = wires.websocket(f"{WEBSOCKET}&sid={polling.sid}")
    websocket.send(packet)
    websocket.ended()
    _goes_on(wires, polling)


@pytest.mark.parametrize("packet", ["4hello", "1", "xyz", "", b"5"])
def test_a_websocket_that_goes_on_with_anything_but_5_is_closed(
    wires: Wires, polling: Polling, packet: str | bytes
) -> None:
    websocket = wires.probe(polling)
    websocket.send(packet)
    websocket.ended()
    _goes_on(wires, polling)


def test_polling_works_while_a_websocket_has_said_nothing_yet(wires: Wires, polling: Polling) -> None:
    websocket = wires.websocket(f"{WEBSOCKET}&sid={polling.sid}")
    wires.sync()
    wires.push(polling.key, 1)
    assert polling.next_msgs(1) == [1]
    polling.ask()
    websocket.send("2probe")
    assert websocket.receive() == "3probe"


def test_a_second_websocket_during_an_upgrade_is_closed_and_the_first_completes_it(
    wires: Wires, polling: Polling
) -> None:
    first = wires.probe(polling)
    assert wires.refused_websocket(f"{WEBSOCKET}&sid={polling.sid}") in (101, 400)
    first.send("5")
    first.ask()


def test_a_second_websocket_after_an_upgrade_is_closed_and_the_first_lives(
    wires: Wires, polling: Polling, upgraded: WebSocket
) -> None:
    assert wires.refused_websocket(f"{WEBSOCKET}&sid={polling.sid}") in (101, 400)
    upgraded.ask()


def test_a_second_websocket_of_a_session_that_began_on_one_is_closed_and_the_first_lives(wires: Wires) -> None:
    session = wires.session()
    assert wires.refused_websocket(f"{WEBSOCKET}&sid={session.opened['sid']}") in (101, 400)
    session.ask()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_polling_after_the_upgrade_is_refused_and_the_session_lives(
    wires: Wires, polling: Polling, upgraded: WebSocket, method: str
) -> None:
    answer = wires.request(method, polling.query, b"1" if method == "POST" else b"")
    assert answer.status == 400
    upgraded.ask()


def test_a_websocket_handshake_may_not_say_that_it_is_polling(wires: Wires, polling: Polling) -> None:
    assert wires.refused_websocket(polling.query) in (101, 400)
    polling.ask()


def test_a_session_that_ends_during_its_upgrade_ends_the_websocket_too(wires: Wires, polling: Polling) -> None:
    websocket = wires.probe(polling)
    polling.send("1")
    websocket.ended()
    assert polling.is_gone()


def test_an_upgraded_session_ends_with_its_websocket(wires: Wires, polling: Polling, upgraded: WebSocket) -> None:
    upgraded.send("1")
    upgraded.ended()
    assert wires.request("GET", polling.query).status == 400
    assert wires.refused_websocket(f"{WEBSOCKET}&sid={polling.sid}") == 400
