"""One message to the sessions of its keys: each once, with an outcome for each key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.acks import Acks
from cloud_node.delivery import Deliverer, Delivery
from cloud_node.durable import Durable
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity
from proto.message import KeyOutcome, Message, Outcome, Place
from store.inbox import Position
from tests.fakes.noting_ledger import NotingLedger
from tests.fakes.taking_sender import Connection, TakingSender

_NOW_MS = 1_000
_MESSAGE = Message(9, b'{"a":1}')


class _Pacing:
    """Notes what is begun; gives *outcome*."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, int]] = []
        self.outcome = KeyOutcome(Outcome.QUEUED, 1)

    def begin(self, it: Delivery, key: str) -> KeyOutcome:
        self.begun.append((it.push_id, key, it.speed))
        return self.outcome


class _World:
    def __init__(self) -> None:
        self.hub = Hub(lambda _key, _count: None)
        self.sender = TakingSender(self.hub)
        self.probed: list[Message] = []
        self.ledger = NotingLedger()
        acks = Acks(self.ledger)
        self.durable = Durable(self.hub, self.sender, acks, lambda: _NOW_MS, lambda *_: None, tail_bytes=1000)
        self.acks = acks
        own_keys = {"probe:n": self.probed.append}
        self.pacing = _Pacing()
        self._deliverer = Deliverer(self.hub, self.sender, self.durable, acks, lambda: _NOW_MS, own_keys, self.pacing)

    def add(self, sid: str, *rooms: str, key: str = "alice", accepts: frozenset[int] | None = None) -> Session:
        return self.hub.add(sid, Identity(key, None, rooms, accepts), Connection(sid))

    def deliver(
        self,
        *keys: str,
        push_id: str = "01J0",
        expires_ms: int = 0,
        places: tuple[Place, ...] = (),
        recorded: bool = False,
        speed: int = 0,
    ) -> dict[str, KeyOutcome]:
        return self._deliverer.deliver(Delivery(keys, _MESSAGE, push_id, expires_ms, places, recorded, speed))

    @property
    def sids(self) -> list[str]:
        return self.sender.sids


@pytest.fixture
def world() -> _World:
    return _World()


def test_every_session_of_a_key_gets_the_message_as_it_came(world: _World) -> None:
    world.add("1")
    world.add("2")
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 2)}
    event = {"op": 9, "msg": {"a": 1}, "key": "alice", "push_id": "01J0"}
    assert world.sender.got == [("1", event), ("2", event)]


def test_nobody_here(world: _World) -> None:
    assert world.deliver("bob") == {"bob": KeyOutcome(Outcome.NO_SESSION)}


def test_a_session_with_several_keys_of_a_push_gets_it_once(world: _World) -> None:
    world.add("1", "a")
    world.add("2", "a", key="bob")
    assert world.deliver("alice", "room:a", "all") == {
        "alice": KeyOutcome(Outcome.DELIVERED, 1),
        "room:a": KeyOutcome(Outcome.DELIVERED, 1),
        "all": KeyOutcome(Outcome.DELIVERED, 0),
    }
    assert world.sids == ["1", "2"]


def test_the_same_push_again_reaches_nobody_twice(world: _World) -> None:
    world.add("1")
    world.deliver("alice")
    world.add("2", key="bob")
    assert world.deliver("alice", "bob") == {
        "alice": KeyOutcome(Outcome.DUPLICATE),
        "bob": KeyOutcome(Outcome.DELIVERED, 1),
    }
    assert world.sids == ["1", "2"]


def test_a_key_that_is_asked_for_twice_in_one_request_is_delivered_once_and_says_so(world: _World) -> None:
    world.add("1")
    assert world.deliver("alice", "alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 1)}
    assert world.sids == ["1"]


def test_without_a_push_id_nothing_is_a_duplicate(world: _World) -> None:
    world.add("1")
    for _ in range(2):
        assert world.deliver("alice", push_id="") == {"alice": KeyOutcome(Outcome.DELIVERED, 1)}


def test_a_push_that_found_nobody_is_no_duplicate_when_it_comes_again(world: _World) -> None:
    world.deliver("alice")
    world.add("1")
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 1)}


def test_sessions_that_do_not_accept_the_op_are_left_out(world: _World) -> None:
    world.add("1", accepts=frozenset({1}))
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.FILTERED)}
    world.add("2", accepts=frozenset({9}))
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 1)}
    assert world.sids == ["2"]


def test_a_key_whose_every_session_is_too_slow_says_so_and_may_be_sent_again(world: _World) -> None:
    world.sender.slow.add(world.add("1"))
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.SLOW)}
    world.add("2")
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 1)}


def test_one_slow_session_does_not_spoil_it_for_the_others(world: _World) -> None:
    world.add("1")
    world.sender.slow.add(world.add("2"))
    world.add("3")
    assert world.deliver("alice") == {"alice": KeyOutcome(Outcome.DELIVERED, 2)}
    assert len(world.hub) == 2


@pytest.mark.parametrize(
    ("expires_ms", "outcome"), [(0, Outcome.DELIVERED), (_NOW_MS + 1, Outcome.DELIVERED), (_NOW_MS, Outcome.EXPIRED)]
)
def test_what_comes_after_its_time_is_not_delivered(world: _World, expires_ms: int, outcome: Outcome) -> None:
    world.add("1")
    assert world.deliver("alice", expires_ms=expires_ms)["alice"].outcome is outcome
    assert len(world.sids) == (outcome is Outcome.DELIVERED)


def test_the_nodes_own_key_is_answered_by_the_node(world: _World) -> None:
    assert world.deliver("probe:n") == {"probe:n": KeyOutcome(Outcome.DELIVERED, 0)}
    assert world.probed == [_MESSAGE]
    assert world.deliver("probe:other") == {"probe:other": KeyOutcome(Outcome.NO_SESSION)}


def test_an_ephemeral_push_without_a_receipt_asks_for_no_answer_and_writes_nothing(world: _World) -> None:
    world.add("1")
    world.deliver("alice")
    assert world.sender.ack_ids == [None]
    assert world.ledger.notes == []


def test_a_recorded_push_asks_for_an_answer_and_is_noted_as_handed_over(world: _World) -> None:
    session = world.add("1")
    world.add("2")
    assert world.deliver("alice", recorded=True) == {"alice": KeyOutcome(Outcome.DELIVERED, 2)}
    assert world.ledger.notes == [("handed", "01J0", "alice", None, 2)]
    (ack_id,) = world.sender.ack_ids
    assert ack_id is not None
    for _ in range(2):
        world.acks.answered(session, ack_id)
    assert world.ledger.notes[1:] == [("acked", "01J0", "alice")]


def test_a_recorded_push_to_several_keys_of_a_session_is_handed_over_and_acked_under_each(world: _World) -> None:
    session = world.add("1", "a")
    world.add("2", "a", key="bob")
    world.deliver("alice", "room:a", "all", recorded=True)
    assert world.ledger.notes == [
        ("handed", "01J0", "alice", None, 1),
        ("handed", "01J0", "room:a", None, 2),
        ("handed", "01J0", "all", None, 2),
    ]
    first, _ = world.sender.ack_ids
    assert first is not None
    world.acks.answered(session, first)
    assert world.ledger.notes[3:] == [("acked", "01J0", key) for key in ("alice", "room:a", "all")]


def test_answers_are_kept_apart_for_so_many_pushes_and_sessions_in_all(world: _World) -> None:
    sessions = [world.add(str(number)) for number in range(3)]
    world.acks.most_answers = 4
    for number in range(3):
        world.deliver("alice", push_id=f"p{number}", recorded=True)
    ids = [ack_id for ack_id in world.sender.ack_ids if ack_id is not None]
    for ack_id in ids:
        for session in sessions:
            world.acks.answered(session, ack_id)
    assert sum(note[0] == "acked" for note in world.ledger.notes) == 9
    assert len(world.acks._by_id) == 1


def test_a_recorded_push_that_nobody_took_is_not_noted(world: _World) -> None:
    world.sender.slow.add(world.add("1"))
    world.add("2", key="bob", accepts=frozenset({1}))
    world.deliver("alice", "bob", "carol", recorded=True)
    assert world.ledger.notes == []


def test_a_push_with_places_is_durable_and_comes_with_them_once_for_each_key(world: _World) -> None:
    session = world.add("1", "a")
    world.durable.attach(session, session.keys)
    for key in ("alice", "room:a"):
        world.durable._followings[key].look(Position(), world.durable._hands)
        world.durable._followings[key].begin(session, 0)
    places = (Place("e", 1), Place("f", 1))
    assert world.deliver("alice", "room:a", places=places) == {
        "alice": KeyOutcome(Outcome.DELIVERED, 1),
        "room:a": KeyOutcome(Outcome.DELIVERED, 1),
    }
    event = {"op": 9, "msg": {"a": 1}, "push_id": "01J0", "offset": 1}
    assert world.sender.got == [
        ("1", event | {"key": "alice", "epoch": "e"}),
        ("1", event | {"key": "room:a", "epoch": "f"}),
    ]
    assert None not in world.sender.ack_ids


def test_a_push_with_a_speed_is_paced_and_known_afterwards(world: _World) -> None:
    world.add("1")
    assert world.deliver("all", speed=7) == {"all": KeyOutcome(Outcome.QUEUED, 1)}
    assert world.deliver("all", speed=7) == {"all": KeyOutcome(Outcome.DUPLICATE)}
    assert world.pacing.begun == [("01J0", "all", 7)]


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.SLOW])
def test_a_paced_push_that_nobody_took_may_come_again(world: _World, outcome: Outcome) -> None:
    world.add("1")
    world.pacing.outcome = KeyOutcome(outcome)
    for _ in range(2):
        assert world.deliver("all", speed=7) == {"all": KeyOutcome(outcome)}
    assert len(world.pacing.begun) == 2


def test_a_push_with_a_speed_that_is_for_nobody_here_or_too_late_is_not_begun(world: _World) -> None:
    assert world.deliver("all", speed=7)["all"].outcome is Outcome.NO_SESSION
    world.add("1", accepts=frozenset({1}))
    assert world.deliver("all", speed=7)["all"].outcome is Outcome.FILTERED
    assert world.deliver("all", speed=7, expires_ms=_NOW_MS)["all"].outcome is Outcome.EXPIRED
    assert world.pacing.begun == []


_KEYS = st.sampled_from(["alice", "bob", "room:a", "room:b", "all"])


@given(
    st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.sets(st.sampled_from(["a", "b"])))),
    st.lists(_KEYS, min_size=1, unique=True),
)
def test_everyone_who_answers_to_a_key_gets_the_push_once_and_nobody_else(
    sessions: list[tuple[str, set[str]]], keys: list[str]
) -> None:
    world = _World()
    for number, (key, rooms) in enumerate(sessions):
        world.add(str(number), *sorted(rooms), key=key)
    meant = sorted(session.sid for session in world.hub if set(keys) & set(session.keys))
    outcomes = world.deliver(*keys)
    assert sorted(world.sids) == meant
    assert sum(outcome.sessions for outcome in outcomes.values()) == len(meant)
    for key, outcome in outcomes.items():
        assert (outcome.outcome is Outcome.NO_SESSION) == (not world.hub.holders(key))
