"""Who lags behind is left out of what the others get, and costs them nothing while nothing changes."""

import pytest

from cloud_node.behind import Behind
from cloud_node.hub import Session
from cloud_node.identity import Identity
from cloud_node.wire.recipients import Recipients


@pytest.fixture
def sessions() -> list[Session]:
    return [Session(str(number), Identity("alice"), None, object()) for number in range(4)]


def _without(behind: Behind, takers: Recipients, sessions: list[Session]) -> list[str]:
    left = behind.without(takers).connections
    return [session.sid for session in sessions if session.connection in left]


def test_the_same_list_serves_as_long_as_nobody_comes_or_catches_up(sessions: list[Session]) -> None:
    behind, takers = Behind(), Recipients([session.connection for session in sessions])
    behind.expect(sessions[1], 1)
    behind.begin(sessions[1], 3, head=9)
    first = behind.without(takers)
    behind.reached([sessions[1]], 7)
    behind.drop_at(8)
    assert behind.without(takers) is first


def test_each_change_of_who_lags_behind_is_seen_at_once(sessions: list[Session]) -> None:
    behind, takers = Behind(), Recipients([session.connection for session in sessions])
    behind.expect(sessions[0], 1)
    assert _without(behind, takers, sessions) == ["1", "2", "3"]
    behind.expect(sessions[1], 1)
    assert _without(behind, takers, sessions) == ["2", "3"]
    behind.begin(sessions[0], 9, head=9)
    assert _without(behind, takers, sessions) == ["0", "2", "3"]
    behind.begin(sessions[1], 3, head=9)
    assert _without(behind, takers, sessions) == ["0", "2", "3"]
    behind.reached([sessions[1]], 9)
    behind.drop_at(9)
    assert _without(behind, takers, sessions) == ["0", "1", "2", "3"]
    behind.expect(sessions[2], 1)
    assert _without(behind, takers, sessions) == ["0", "1", "3"]
    behind.leave(sessions[2])
    assert _without(behind, takers, sessions) == ["0", "1", "2", "3"]


def test_other_takers_are_looked_through_anew(sessions: list[Session]) -> None:
    behind = Behind()
    behind.expect(sessions[0], 1)
    everybody = Recipients([session.connection for session in sessions])
    some = Recipients([session.connection for session in sessions[:2]])
    assert _without(behind, everybody, sessions) == ["1", "2", "3"]
    assert _without(behind, some, sessions) == ["1"]
