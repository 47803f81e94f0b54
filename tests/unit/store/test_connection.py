"""What the store keeps is read by releases before and after."""

from typing import Any

import orjson
import pytest
import redis

from proto.errors import StoreUnavailable
from store.connection import answering
from store.registry import NodeInfo, Registry
from store.settings import StoreSettings


def test_what_a_newer_release_says_of_a_node_is_read_as_far_as_it_is_known() -> None:
    text = orjson.dumps({"node": "h:1#aa", "grpc": "h:1", "url": "u", "sessions": 3, "zone": "eu"}).decode()
    assert NodeInfo.from_json("h:1#aa", text) == NodeInfo("h:1#aa", "h:1", "u", 3)


def test_the_name_under_which_it_is_kept_is_the_nodes_name() -> None:
    assert NodeInfo.from_json("h:1#aa", '{"node":"other","grpc":"h:1","url":"u"}').node == "h:1#aa"


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("late"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.ReadOnlyError("a replica"),
        redis.exceptions.OutOfMemoryError("full"),
        redis.exceptions.MasterDownError("no master"),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but cannot"),
        redis.ResponseError("Command # 1 (HSET a b c) of pipeline caused error: NOREPLICAS Not enough good replicas"),
        redis.ResponseError("BUSY Redis is busy running a script"),
    ],
    ids=repr,
)
def test_a_store_that_cannot_serve_now_is_unavailable(error: redis.RedisError) -> None:
    with pytest.raises(StoreUnavailable) as unavailable, answering():
        raise error
    assert unavailable.value.retryable


@pytest.mark.parametrize(
    "error", [redis.ResponseError("WRONGTYPE Operation against a key"), redis.DataError("no such type")], ids=repr
)
def test_a_fault_of_ours_is_not_hidden_behind_the_store(error: redis.RedisError) -> None:
    with pytest.raises(type(error)), answering():
        raise error


@pytest.mark.parametrize("text", ["no JSON", "[]", "null", '{"grpc": 1}'])
def test_what_is_no_node_does_not_hide_the_others(text: str) -> None:
    class _Client:
        def __getattr__(self, _name: str) -> Any:
            return lambda *_args, **_kwargs: self

        def execute(self) -> list[Any]:
            leases = [("h:1#aa", 2e12), ("h:2#bb", 2e12)]
            return [(1, 0), leases, "0", {"h:1#aa": text, "h:2#bb": '{"grpc":"h:2","url":"u"}'}]

    client: Any = _Client()
    assert [info.node for info in Registry(client, StoreSettings()).live()] == ["h:2#bb"]
