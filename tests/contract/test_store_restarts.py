"""A Redis that is killed, restarted, emptied, or forgets its scripts, under what it keeps of pushes."""

from dataclasses import replace
from pathlib import Path

import pytest

from proto.message import Place
from store.inbox import Position
from store.receipts import Mark, Owner, State, Step
from store.requests import ClaimKind
from tests.parts.kept import HOUR_MS, Kept, open_kept
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "redis", fsync="always")


@pytest.fixture
def kept(server: RedisServer) -> Kept:
    server.start()
    return open_kept(server.url)


@pytest.fixture(autouse=True)
def _ended(server: RedisServer, kept: Kept) -> object:
    yield
    server.kill()


def _dies_and_comes_back(server: RedisServer) -> None:
    server.kill()
    server.start()


def test_a_redis_that_crashed_knows_all_messages_and_goes_on_in_another_epoch(server: RedisServer, kept: Kept) -> None:
    places: list[Place] = []
    for life in range(3):
        places += [kept.append(key, f"p{life}").place for key in ("a", "room:b")]
        before = kept.inbox.read({"a": 0, "room:b": 0}, 9)
        _dies_and_comes_back(server)
        assert kept.inbox.read({"a": 0, "room:b": 0}, 9) == before, "nothing changes before somebody appends"
    of_a, of_b = places[::2], places[1::2]
    assert [place.offset for place in of_a] == [place.offset for place in of_b] == [1, 2, 3]
    assert len({place.epoch for place in places}) == 6, "an epoch for each key and life"
    assert kept.inbox.positions(["a"])["a"] == Position(tuple(of_a), last=3)
    again = [kept.append("a", f"p{life}", again=True).place for life in range(3)]
    assert again == of_a


def test_a_redis_that_was_emptied_has_a_new_chain(server: RedisServer, kept: Kept) -> None:
    old = [kept.append("a", f"p{number}").place for number in range(3)][-1]
    server.wipe()
    assert kept.inbox.positions(["a"])["a"] == Position()
    new = kept.append("a", "p9").place
    assert new.offset == 1
    position = kept.inbox.positions(["a"])["a"]
    assert old.epoch not in {link.epoch for link in position.chain}
    assert position.chain == (new,)


def test_a_crash_of_redis_changes_neither_receipts_nor_requests_nor_what_is_pending(
    server: RedisServer, kept: Kept
) -> None:
    push = kept.push("p1", "a", "b")
    claim = kept.requests.claim("r1", "d", "p1")
    kept.create(push)
    kept.run(lambda batch: kept.pending.add(batch, "p1", 1), lambda batch: kept.pending.add(batch, "p2", 2))
    before = kept.receipt("p1")
    _dies_and_comes_back(server)
    assert (kept.receipt("p1"), kept.receipts.payload("p1")) == (before, push.to_payload())
    assert kept.pending.due(9) == ["p1", "p2"]

    assert kept.receipts.dispatch(push, 10).go == ("a", "b")
    step = Step("a", State.EMITTED, 20, sessions=2)
    kept.advance("p1", Owner.CLOUD, step, mark=Mark("n1", 1))
    assert kept.requests.take("r1", claim.claim)
    before = kept.receipt("p1")
    _dies_and_comes_back(server)
    assert kept.pending.due(9) == ["p2"]
    assert kept.requests.claim("r1", "d", "p3").kind is ClaimKind.DONE
    kept.advance("p1", Owner.CLOUD, step, mark=Mark("n1", 1))
    assert kept.receipt("p1") == before, "the batch is known after the crash, too"


def test_scripts_that_are_forgotten_in_mid_way_change_nothing(server: RedisServer, kept: Kept) -> None:
    push = kept.push("p1", "a", "b")
    forget = kept.client.script_flush

    forget()
    claim = kept.requests.claim("r1", "d", "p1")
    forget()
    told = kept.run(
        lambda batch: kept.pending.add(batch, "p1", 1),
        lambda batch: kept.receipts.create(batch, push, State.ACCEPTED),
        *(lambda batch, key=key: kept.inbox.append(batch, key, "p1", push.message, HOUR_MS) for key in push.keys),
    )
    assert told[:2] == [1, 1]
    places = {key: kept.inbox.appended(answer).place for key, answer in zip(push.keys, told[2:], strict=True)}
    assert {place.offset for place in places.values()} == {1}
    forget()
    assert kept.requests.take("r1", claim.claim)
    forget()
    assert kept.receipts.dispatch(replace(push, places=places), 10).go == ("a", "b")
    forget()
    assert kept.advance("p1", Owner.CLOUD, Step("a", State.EMITTED, 20, 1)) == [1]
    forget()
    cancelled = kept.receipts.cancel("p1", 30)
    assert cancelled is not None
    assert (cancelled.cancelled, dict(cancelled.too_late)) == (("b",), {"a": State.EMITTED})
    forget()
    assert kept.remove("b", "p1") == 1
    forget()
    assert kept.pending.due(9) == []
    forget()
    assert kept.pending.lead("one", 60)
