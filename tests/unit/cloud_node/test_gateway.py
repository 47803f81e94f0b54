"""Joining a room: what is decided and handed out, is so on the hub's run, and answered."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from cloud_node.gateway import Gateway
from cloud_node.hub import Session
from cloud_node.settings import CloudSettings
from proto.message import Place
from tests.fakes.durable_world import World, offsets


class _Sio:
    """Takes the handlers of a gateway."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.on_answer: Callable[[str, int], None]

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        self.handlers[event] = handler


class _Presence:
    """Knows everything at once."""

    node = "n"

    def when_known(self, tell: Callable[[], None]) -> Callable[[], None]:
        tell()
        return lambda: None


class _Joins:
    """A gateway on a world; what it posts is run at once, and *in_run* tells whether that is so now."""

    def __init__(self) -> None:
        self.world = World()
        self.sio = _Sio()
        self.in_run = False
        self.emitted_in_run: list[bool] = []
        emit = self.world.node.emit

        def noting(*args: Any) -> int:
            self.emitted_in_run.append(self.in_run)
            return emit(*args)

        self.world.node.emit = noting  # type: ignore[method-assign,assignment]
        unused = cast(Any, None)
        Gateway(
            cast(Any, self.sio),
            self.world.node.hub,
            cast(Any, _Presence()),
            unused,
            CloudSettings(max_rooms=3),
            self._post,
            lambda: "anon",
            self.world.node.durable,
        )

    def _post(self, run: Callable[[], object]) -> None:
        self.in_run = True
        try:
            run()
            self.world.node.settles()
        finally:
            self.in_run = False

    def join(self, session: Session, asked: object) -> dict[str, Any]:
        answer: dict[str, Any] = self.sio.handlers["join"](session.sid, asked)
        return answer


@pytest.fixture
def joins() -> _Joins:
    return _Joins()


def _session(joins: _Joins) -> Session:
    client = joins.world.connect()
    assert client.session is not None
    return client.session


def test_a_join_is_answered_with_the_place_at_which_it_begins(joins: _Joins) -> None:
    joins.world.accept(5, "room:a")
    session = _session(joins)
    answer = joins.join(session, "a")
    assert answer == {"rooms": ["a"], "cursor": {"epoch": "e0", "offset": 5}}
    assert joins.join(session, "b") == {"rooms": ["a", "b"], "cursor": {"epoch": "", "offset": 0}}


@pytest.mark.parametrize(
    ("after", "recovered"), [({"epoch": "e0", "offset": 3}, True), ({"epoch": "gone", "offset": 3}, False)]
)
def test_a_join_with_a_cursor_is_told_whether_anything_was_lost(
    joins: _Joins, after: dict[str, Any], recovered: bool
) -> None:
    joins.world.accept(5, "room:a")
    session = _session(joins)
    joins.world.clients[0].subscriptions.clear()  # it does not judge what it did not ask for itself
    answer = joins.join(session, {"room": "a", "after": after})
    assert answer["recovered"] is recovered
    assert answer["cursor"] == {"epoch": "e0" if recovered else "", "offset": 3 if recovered else 0}


def test_what_a_join_hands_out_is_handed_out_in_a_run_of_the_hub(joins: _Joins) -> None:
    holder = joins.world.connect(rooms=("a",))
    for each in joins.world.accept(3, "room:a"):
        joins.world.node.hint(each)
    assert offsets(holder, "room:a") == [1, 2, 3]
    session = joins.world.connect().session
    assert session is not None
    object.__setattr__(session.identity, "made_up", True)  # so that it is all known without a look
    joins.emitted_in_run.clear()
    joins.join(session, {"room": "a", "after": {"epoch": "e0", "offset": 1}})
    assert joins.emitted_in_run == [True, True]
    assert session.acked["room:a"] == Place("e0", 1)


def test_a_room_that_is_left_is_forgotten(joins: _Joins) -> None:
    session = _session(joins)
    joins.join(session, "a")
    assert joins.sio.handlers["leave"](session.sid, "a") == {"rooms": []}
    assert "room:a" not in joins.world.node.durable._followings
    assert "room:a" not in session.acked


def test_an_ack_is_answered_with_what_is_acked_or_why_not(joins: _Joins) -> None:
    session = _session(joins)
    joins.world.node.hint(joins.world.accept()[0])
    assert joins.sio.handlers["ack"](session.sid, {"alice": 1}) == {"acked": {"alice": 1}}
    assert joins.sio.handlers["ack"](session.sid, {"bob": 1})["error"]["code"] == "invalid_ack"
    assert joins.sio.handlers["ack"](session.sid)["error"]["code"] == "invalid_ack"
    assert joins.sio.handlers["ack"]("gone", {})["error"]["code"] == "gone"


def test_an_answer_of_a_session_that_is_gone_means_nothing(joins: _Joins) -> None:
    session = _session(joins)
    joins.world.node.hint(joins.world.accept()[0])
    joins.sio.on_answer("gone", 1)
    assert session.acked["alice"].offset == 0
    joins.sio.on_answer(session.sid, 1)
    assert session.acked["alice"] == Place("e0", 1)
