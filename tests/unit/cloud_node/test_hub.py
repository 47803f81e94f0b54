"""The hub: what it tells of counts is what it holds, whatever sessions do."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity

_KEYS = st.sampled_from(["alice", "bob", "all", "mid:1", "room:a", "room:b"])
_ROOMS = st.sampled_from(["room:a", "room:b", "room:c"])


class HubMachine(RuleBasedStateMachine):
    sessions: Bundle[Session] = Bundle("sessions")
    gone: Bundle[Session] = Bundle("gone")

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, int] = {}
        self.hub = Hub(self._changed)
        self.model: dict[str, list[str]] = {}
        self.number = 0

    def _changed(self, key: str, count: int) -> None:
        assert count >= 0
        assert abs(count - self.told.get(key, 0)) == 1, "every change is told, one by one"
        self.told[key] = count

    @rule(target=sessions, key=st.sampled_from(["alice", "bob"]), mid=st.none() | st.just("1"), room=_ROOMS)
    def connect(self, key: str, mid: str | None, room: str) -> Session:
        self.number += 1
        identity = Identity(key, mid, (room.removeprefix("room:"),))
        session = self.hub.add(f"sid{self.number}", identity)
        self.model[session.sid] = list(identity.keys)
        return session

    @rule(target=gone, session=consumes(sessions))
    def disconnect(self, session: Session) -> Session:
        assert self.hub.remove(session.sid) is session
        del self.model[session.sid]
        return session

    @rule(session=gone, key=_ROOMS)
    def what_has_ended_stays_so(self, session: Session, key: str) -> None:
        assert self.hub.remove(session.sid) is None
        assert not self.hub.attach(session, key)
        assert not self.hub.detach(session, key)
        assert session.rooms == []

    @rule(session=sessions, key=_ROOMS)
    def join(self, session: Session, key: str) -> None:
        held = self.model[session.sid]
        assert self.hub.attach(session, key) == (key not in held)
        if key not in held:
            held.append(key)

    @rule(session=sessions, key=_KEYS)
    def leave(self, session: Session, key: str) -> None:
        held = self.model[session.sid]
        assert self.hub.detach(session, key) == (key in held)
        if key in held:
            held.remove(key)

    @invariant()
    def counts_told_are_sessions_held(self) -> None:
        held: dict[str, list[str]] = {}
        for sid, keys in self.model.items():
            for key in keys:
                held.setdefault(key, []).append(sid)
        assert {key: count for key, count in self.told.items() if count} == {
            key: len(sids) for key, sids in held.items()
        }
        for key in self.told:
            assert sorted(session.sid for session in self.hub.holders(key)) == sorted(held.get(key, []))
        assert sorted(self.hub.rooms()) == sorted(key.removeprefix("room:") for key in held if key.startswith("room:"))

    @invariant()
    def every_session_is_found_and_knows_its_keys(self) -> None:
        assert len(self.hub) == len(self.model) == len(list(self.hub))
        for sid, keys in self.model.items():
            session = self.hub.get(sid)
            assert session is not None
            assert list(session.keys) == keys

    @invariant()
    def nothing_is_kept_of_keys_that_nobody_holds(self) -> None:
        assert set(self.hub._by_key) == {key for keys in self.model.values() for key in keys}


TestHub = HubMachine.TestCase


def test_sessions_of_a_key_come_oldest_first() -> None:
    hub = Hub(lambda _key, _count: None)
    sessions = [hub.add(sid, Identity("alice")) for sid in ("1", "2", "3")]
    hub.remove("1")
    assert list(hub.holders("alice")) == sessions[1:]


def test_a_session_takes_the_ops_that_it_lists_or_all() -> None:
    assert Session("1", Identity("a"), None).takes(9)
    assert Session("1", Identity("a"), frozenset({9})).takes(9)
    assert not Session("1", Identity("a"), frozenset()).takes(9)


class _Connection:
    """Stands in for the wire's; the hub does not look into it."""


def _hub(*accepts: frozenset[int] | None) -> tuple[Hub, list[Session]]:
    hub = Hub(lambda _key, _count: None)
    return hub, [hub.add(f"s{each}", Identity("alice", accepts=ops), _Connection()) for each, ops in enumerate(accepts)]


def _takers(hub: Hub, op: int) -> list[object]:
    takers = hub.takers("alice", op)
    assert takers is not None
    return list(takers.connections)


def test_takers_of_a_key_that_nobody_holds_are_none() -> None:
    hub, (session,) = _hub(None)
    assert hub.takers("bob", 9) is None
    hub.remove(session.sid)
    assert hub.takers("alice", 9) is None


def test_takers_are_the_connections_of_those_that_accept_the_op_oldest_first() -> None:
    hub, sessions = _hub(None, frozenset({1}), frozenset({9, 1}), frozenset())
    assert _takers(hub, 9) == [sessions[0].connection, sessions[2].connection]
    assert _takers(hub, 1) == [session.connection for session in sessions[:3]]
    assert _takers(hub, 5) == [sessions[0].connection]


def test_takers_are_the_same_list_until_something_changes_so_that_what_is_emitted_to_them_can_be_joined() -> None:
    hub, _ = _hub(None, None)
    first = hub.takers("alice", 9)
    assert hub.takers("alice", 9) is first
    assert hub.takers("alice", 7) is first, "nobody filters"


def test_takers_follow_every_change() -> None:
    hub, sessions = _hub(None, None)
    one, two = (session.connection for session in sessions)
    assert _takers(hub, 9) == [one, two]
    hub.accept(sessions[0], frozenset({1}))
    assert (_takers(hub, 9), {*_takers(hub, 1)}) == ([two], {one, two})
    hub.accept(sessions[0], None)
    assert {*_takers(hub, 9)} == {one, two}
    third = hub.add("s3", Identity("alice"), _Connection())
    assert {*_takers(hub, 9)} == {one, two, third.connection}
    hub.detach(sessions[1], "alice")
    assert _takers(hub, 9) == [one, third.connection]
    hub.accept(sessions[0], frozenset())
    hub.remove(sessions[0].sid)
    assert hub.takers("alice", 9) is hub.takers("alice", 8), "who filtered has gone"


def test_a_session_that_has_ended_may_still_say_what_it_accepts() -> None:
    hub, (session,) = _hub(None)
    hub.remove(session.sid)
    hub.accept(session, frozenset({1}))
    assert hub.takers("alice", 1) is None


def test_lists_of_takers_are_kept_for_few_ops() -> None:
    hub, _ = _hub(frozenset(range(100)), None)
    for op in range(100):
        assert len(_takers(hub, op)) == 2
    assert len(hub._by_key["alice"]._by_op) <= 8
