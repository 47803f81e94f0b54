"""cloudpush.listener on real sockets: order, once, resume, gaps, and how it ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudpush import Ended, Gap, Listener, Message, Place, Ready, Refused, Unreachable
from cloudpush.errors import CloudpushError
from tests.fakes.scripted_node import ScriptedNode, scripted_node
from tests.parts.process import free_port, until

WAIT_S = 10.0


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with scripted_node() as one:
        yield one


class Heard:
    """What a listener told, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.readies: list[Ready] = []
        self.gaps: list[Gap] = []
        self.lost: list[str] = []
        self.order: list[Any] = []

    @property
    def msgs(self) -> list[Any]:
        return [message.msg for message in self.messages]

    def message(self, message: Message) -> None:
        self.order.append(message.msg)
        self.messages.append(message)

    def gap(self, gap: Gap) -> None:
        self.order.append(gap)
        self.gaps.append(gap)


@contextmanager
def listening(url: str | Callable[[], str], heard: Heard, **asked: Any) -> Iterator[Listener]:
    handlers = {"on_message": heard.message, "on_ready": heard.readies.append, "on_gap": heard.gap}
    listener = Listener(url, **{"key": "alice", "on_lost": heard.lost.append, **handlers, **asked})
    with listener:
        listener.wait_ready(WAIT_S)
        yield listener


def test_a_burst_is_handed_over_in_order_on_one_thread(node: ScriptedNode) -> None:
    threads: set[int] = set()
    got: list[Any] = []

    def handle(message: Message) -> None:
        threads.add(threading.get_ident())
        got.append(message.msg)

    with listening(node.url, Heard(), on_message=handle):
        for n in range(2000):
            node.store("alice", n)
        until(lambda: len(got) == 2000, WAIT_S, "all messages")
    assert got == list(range(2000))
    assert len(threads) == 1


@pytest.mark.parametrize("polling", [False, True], ids=["websocket", "polling"])
def test_a_reconnect_goes_on_after_what_was_done_and_repeats_nothing(node: ScriptedNode, polling: bool) -> None:
    heard = Heard()
    with listening(node.url, heard, polling=polling):
        for n in range(3):
            node.store("alice", n)
        until(lambda: node.acks[-1:] == [{"alice": 3}], WAIT_S, "three messages to be done")
        node.drop()
        node.store("alice", "while away")
        until(lambda: "while away" in heard.msgs, WAIT_S, "the message of meanwhile")
        node.store("alice", "after")
        until(lambda: "after" in heard.msgs, WAIT_S, "the message after")
    assert heard.msgs == [0, 1, 2, "while away", "after"]
    assert node.auths[1]["resume"]["alice"] == {"epoch": "e1", "offset": 3}
    assert heard.readies[1].recovered["alice"] is True
    assert (heard.gaps, len(heard.lost)) == ([], 1)


def test_what_a_node_sends_again_is_handed_over_once(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard) as listener:
        said = [node.store("alice", n) for n in range(5)]
        for one in (*said, said[2], said[0]):
            node.send("push", one)
        node.store("alice", "last")
        until(lambda: "last" in heard.msgs, WAIT_S, "the last message")
        assert listener.counts() == {"HAND": 6, "DROP": 7}
    assert heard.msgs == [0, 1, 2, 3, 4, "last"]


def test_a_push_to_two_keys_of_the_session_is_handed_over_once_and_acked_for_both(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard, mid=42):
        node.store("alice", "both", push_id="p1")
        node.store("mid:42", "both", push_id="p1")
        node.store("mid:42", "last")
        until(lambda: "last" in heard.msgs, WAIT_S, "the last message")
    assert heard.msgs == ["both", "last"]
    assert {key: offset for acked in node.acks for key, offset in acked.items()} == {"alice": 1, "mid:42": 2}


def test_an_ephemeral_message_has_no_place_and_is_not_acked(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard):
        for _ in range(2):
            node.send("push", {"op": 7, "msg": "now", "key": "alice", "push_id": "p1"})
        node.store("alice", "last")
        until(lambda: "last" in heard.msgs, WAIT_S, "the last message")
    first = heard.messages[0]
    assert heard.msgs == ["now", "last"]
    assert (first.op, first.durable, first.offset, first.epoch) == (7, False, None, None)
    assert node.acks == [{"alice": 1}]


def test_a_gap_is_told_in_its_turn_and_moves_the_cursor(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard) as listener:
        node.store("alice", "before")
        node.send("gap", {"key": "alice", "reason": "trimmed", "epoch": "e1", "offset": 40})
        node.send("push", {"op": 9, "msg": "late", "key": "alice", "push_id": "late", "epoch": "e1", "offset": 40})
        node.send("push", {"op": 9, "msg": "after", "key": "alice", "push_id": "p", "epoch": "e1", "offset": 41})
        until(lambda: "after" in heard.msgs, WAIT_S, "the message after the gap")
        assert listener.counts() == {"HAND": 2, "DROP": 1}
    assert heard.order == ["before", Gap("alice", "trimmed", Place("e1", 40)), "after"]


@pytest.mark.parametrize("change", ["trimmed", "epoch"])
def test_what_was_lost_while_away_is_told_as_a_gap_and_in_ready(node: ScriptedNode, change: str) -> None:
    heard = Heard()
    with listening(node.url, heard):
        node.store("alice", "before")
        until(lambda: heard.msgs == ["before"], WAIT_S, "the first message")
        node.stop()
        if change == "trimmed":
            for n in range(5):
                node.store("alice", n)
            node.gone["alice"] = 4
        else:
            node.logs["alice"].clear()
            node.epoch = "e2"
            node.store("alice", "new epoch")
        node.start()
        until(lambda: len(heard.messages) > 1, WAIT_S, "a message after the loss")
        place = Place("e1", 4) if change == "trimmed" else Place("e2", 0)
        assert heard.readies[1].recovered["alice"] is False
        assert heard.gaps == [Gap("alice", "not recovered", place)]
        left = [3, 4] if change == "trimmed" else ["new epoch"]
        until(lambda: len(heard.messages) == 1 + len(left), WAIT_S, "all that is left")
        assert heard.msgs == ["before", *left]


def test_a_node_is_asked_for_at_each_connection(node: ScriptedNode) -> None:
    heard = Heard()
    with scripted_node(node="other:1#boot") as other:
        urls = iter([node.url, f"http://127.0.0.1:{free_port()}"])
        with listening(lambda: next(urls, other.url), heard):
            node.stop()
            until(lambda: len(heard.readies) == 2, WAIT_S, "ready on the other node")
    assert [ready.node for ready in heard.readies] == ["scripted:1#boot", "other:1#boot"]


def test_a_key_that_a_node_made_up_stays_the_sessions(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard, key=None):
        node.drop()
        until(lambda: len(heard.readies) == 2, WAIT_S, "a second ready")
    assert ("key" in node.auths[0], node.auths[1]["key"]) == (False, "made-up")


def test_a_token_may_be_fresh_for_each_connection(node: ScriptedNode) -> None:
    heard, tokens = Heard(), iter(["first", "second"])
    with listening(node.url, heard, key=None, token=lambda: next(tokens)):
        node.drop()
        until(lambda: len(heard.readies) == 2, WAIT_S, "a second ready")
    assert [auth["token"] for auth in node.auths] == ["first", "second"]
    assert "key" not in node.auths[1]  # a token says the key


def test_the_session_is_what_was_asked(node: ScriptedNode) -> None:
    with listening(node.url, Heard(), mid=42, rooms=["r"], accepts=[7, 3], platform="test"):
        pass
    assert node.auths == [{"key": "alice", "mid": 42, "rooms": ["r"], "accepts": [3, 7], "platform": "test"}]


@pytest.mark.parametrize("polling", [False, True], ids=["websocket", "polling"])
def test_a_refusal_ends_it_with_code_and_field(polling: bool) -> None:
    said = {"message": "no", "code": "invalid_key", "data": {"code": "invalid_key", "field": "key"}}
    with scripted_node(refuse=said) as node:
        with pytest.raises(Refused) as refused:
            Listener(node.url, on_message=print, polling=polling).run(WAIT_S)
        assert (refused.value.code, refused.value.field) == ("invalid_key", "key")
        assert len(node.auths) == 1


def test_a_full_node_is_no_reason_to_give_up_where_there_is_time() -> None:
    with scripted_node(refuse={"message": "full", "code": "full"}) as full, scripted_node() as other:
        urls = iter([full.url])
        with listening(lambda: next(urls, other.url), Heard(), first_within_s=WAIT_S):
            assert len(other.auths) == 1


def test_a_session_that_the_server_ends_is_over_even_if_the_connection_closes_at_once(node: ScriptedNode) -> None:
    heard = Heard()
    with listening(node.url, heard) as listener:
        for n in range(20):
            node.store("alice", n)
        node.kick()
        assert listener.wait(WAIT_S)
        assert isinstance(listener.failure, Ended)
    assert (len(node.auths), heard.lost) == (1, [])


def test_nobody_there_at_the_first_connection_is_unreachable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable) as nobody:
        Listener(url, on_message=print).run(WAIT_S)
    assert nobody.value.url == url


def test_a_node_that_comes_up_in_time_is_found() -> None:
    node = ScriptedNode()
    tried = threading.Event()

    def url() -> str:
        if tried.is_set():
            return node.url
        tried.set()
        return f"http://127.0.0.1:{free_port()}"

    node.start()
    try:
        with listening(url, Heard(), first_within_s=WAIT_S):
            assert tried.is_set()
    finally:
        node.close()


@pytest.mark.parametrize(
    "said",
    [{"op": 9, "msg": 1, "key": "alice"}, {"op": "x", "msg": 1, "key": "k", "push_id": "p"}, [1]],
    ids=["a field is missing", "no op", "no object"],
)
def test_a_push_that_is_none_costs_the_connection_and_is_told(node: ScriptedNode, said: object) -> None:
    heard = Heard()
    with listening(node.url, heard):
        node.send("push", said)
        until(lambda: len(heard.readies) == 2, WAIT_S, "a second ready")
    assert "Error" in heard.lost[0]


def test_run_ends_at_its_time_and_says_so(node: ScriptedNode) -> None:
    lost: list[str] = []
    listener = Listener(node.url, on_message=print, on_lost=lost.append)
    assert listener.run(timeout_s=0.5) is False
    assert lost == []


def test_a_callback_may_stop_it_and_its_message_counts(node: ScriptedNode) -> None:
    listener = Listener(node.url, key="alice", on_message=lambda _: listener.stop())
    node.store("alice", 1)
    node.store("alice", 2)
    assert listener.run(timeout_s=WAIT_S) is True
    assert node.acks == [{"alice": 1}]


def test_a_callback_that_raises_ends_it_and_its_message_is_not_acked(node: ScriptedNode) -> None:
    def handle(message: Message) -> None:
        if message.msg == "bad":
            raise LookupError("no such thing")

    for msg in ("good", "bad", "later"):
        node.store("alice", msg)
    with pytest.raises(LookupError, match="no such thing"):
        Listener(node.url, key="alice", on_message=handle).run(WAIT_S)
    assert node.acks == [{"alice": 1}]


def test_one_of_url_and_rest_says_where_to_connect() -> None:
    with pytest.raises(ValueError, match="URL of a node"):
        Listener(on_message=print)


def test_a_call_without_a_connection_is_unreachable() -> None:
    with pytest.raises(CloudpushError, match="not connected now"):
        Listener("http://127.0.0.1:1", on_message=print).join("r")
