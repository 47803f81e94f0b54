"""Commands and scripts in one round trip, on servers that know the scripts, that never did, and that forgot them."""

import pytest
import redis

from proto.errors import StoreUnavailable
from store.batch import Batch, Script
from tests.parts.kept import Kept, open_kept
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services

_COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
_ECHO = Script("return {ARGV[1], #KEYS, redis.call('EXISTS', KEYS[1])}")


def _name(kept: Kept, name: str) -> str:
    return f"{kept.settings.store_namespace}:{name}"


def test_nothing_is_sent_for_nothing(kept: Kept) -> None:
    assert Batch(kept.client).run() == []


def test_each_answer_is_at_the_place_of_its_call(kept: Kept) -> None:
    batch = Batch(kept.client)
    places = [
        batch.script(_COUNT, [_name(kept, "n")], (5,)),
        batch.command("SET", _name(kept, "s"), "x"),
        batch.script(_ECHO, [_name(kept, "s")], ("é",)),
        batch.command("GET", _name(kept, "s")),
    ]
    assert places == [0, 1, 2, 3]
    assert len(batch) == 4
    answers = batch.run()
    assert (answers[0], answers[2], answers[3]) == (5, ["é", 1, 1], "x")


def test_a_server_that_forgets_the_scripts_does_each_call_once_all_the_same(own_redis: RedisServer) -> None:
    kept = open_kept(own_redis.url)
    for number in range(1, 6):
        batch = Batch(kept.client)
        batch.script(_COUNT, [_name(kept, "n")], (1,))
        batch.command("INCR", _name(kept, "m"))
        batch.script(_ECHO, [_name(kept, "n")], ("x",))
        batch.script(_COUNT, [_name(kept, "n")], (1,))
        if number % 2:
            kept.client.script_flush()
        assert batch.run() == [2 * number - 1, number, ["x", 1, 1], 2 * number]


def test_one_call_alone_is_done_by_a_server_that_never_knew_its_script(own_redis: RedisServer) -> None:
    kept = open_kept(own_redis.url)
    for number in (1, 2, 3):
        batch = Batch(kept.client)
        batch.script(_COUNT, [_name(kept, "n")], (1,))
        assert batch.run() == [number]
        if number == 1:
            kept.client.script_flush()


def test_a_call_that_fails_is_raised_and_the_others_are_done(kept: Kept) -> None:
    kept.client.set(_name(kept, "text"), "no number")
    batch = Batch(kept.client)
    batch.command("INCR", _name(kept, "text"))
    batch.script(_COUNT, [_name(kept, "n")], (1,))
    with pytest.raises(redis.ResponseError, match="not an integer"):
        batch.run()
    assert kept.client.get(_name(kept, "n")) == "1"


def test_a_call_that_fails_is_its_own_answer_where_all_are_asked_for(kept: Kept) -> None:
    kept.client.set(_name(kept, "text"), "no number")
    for others in (0, 2):
        batch = Batch(kept.client)
        batch.script(_COUNT, [_name(kept, "text")], (1,))
        for n in range(others):
            batch.script(_COUNT, [_name(kept, f"n{n}")], (1,))
        failed, *answers = batch.outcomes()
        assert (type(failed), answers) == (redis.ResponseError, [1] * others)


def test_where_redis_is_full_each_call_that_would_write_says_that_it_cannot_be_served(own_redis: RedisServer) -> None:
    kept = open_kept(own_redis.url)
    kept.client.set(_name(kept, "n"), 7)
    kept.client.config_set("maxmemory", 1)
    batch = Batch(kept.client)
    batch.command("GET", _name(kept, "n"))
    batch.command("SET", _name(kept, "m"), 1)
    read, written = batch.outcomes()
    assert (read, type(written)) == ("7", StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        batch.run()
