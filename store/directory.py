"""Directory: which nodes hold sessions of a key, and how many.

Guarantees, whatever the implementation (one contract suite holds them to it):

- a node writes and removes **its own field only**, so a late disconnect never erases a newer session elsewhere;
- what is written is state ("this many now"), not change, so a write that is repeated does no harm;
- a node whose lease is over answers to nothing, at once, whatever is still written under its name;
- a store that lost its data says so: `Routes.settled` is False while nodes are still registering in it;
- `sweep` removes only what a dead incarnation left.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import redis

from proto import keys as key_names
from store.connection import answering
from store.node_table import NodeTable
from store.registry import Leases, Registry
from store.settings import StoreSettings

_SWEEP_BATCH = 500


@dataclass(frozen=True, slots=True)
class Routes:
    """The live nodes that hold each key; not *settled*: others may hold it too, and be about to say so.

    *live* names all live nodes, whatever they hold.
    """

    nodes: Mapping[str, tuple[str, ...]]
    settled: bool = True
    live: tuple[str, ...] = ()


class Directory(Protocol):
    """What the tiers ask of the directory.  Every method may raise StoreUnavailable."""

    def put(self, node: str, counts: Mapping[str, int]) -> None:
        """Record that *node* now holds this many sessions of each key; 0 removes its field."""

    def resolve(self, keys: Sequence[str]) -> Routes:
        """Name, for each key, the live nodes that hold it; an empty tuple when none does."""

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        """Count, for each key, its sessions on live nodes."""

    def top_rooms(self, limit: int) -> list[tuple[str, int]]:
        """List the *limit* rooms with the most sessions, most first, exact at the moment of asking."""

    def sweep(self, node: str) -> Iterator[int]:
        """Remove everything that the dead incarnation *node* left, a batch each step; yields the batch sizes."""


class RedisDirectory:
    """The directory in Redis.

    ``dir:<key>``      hash, incarnation → number of sessions
    ``held:<node>``    set of the keys that the node wrote: a superset, so that a sweep misses none
    ``rooms:<node>``   sorted set, room key → number of sessions on that node

    Each command touches one key, so any split over a Redis Cluster works.  ``held`` is written before ``dir`` and
    cleared after it: a crash in between leaves a name too many for the sweep, never one too few.
    """

    def __init__(self, client: redis.Redis, settings: StoreSettings, registry: Registry) -> None:
        self._client = client
        self._registry = registry
        self._table = NodeTable(registry)
        self._namespace = settings.store_namespace

    def put(self, node: str, counts: Mapping[str, int]) -> None:
        """See Directory."""
        gained = [key for key, count in counts.items() if count > 0]
        lost = [key for key, count in counts.items() if count <= 0]
        with answering():
            if gained:
                self._client.sadd(self._held(node), *gained)
            pipe = self._client.pipeline(transaction=False)
            for key in gained:
                pipe.hset(self._dir(key), node, str(counts[key]))
                if key_names.room_of(key) is not None:
                    pipe.zadd(self._rooms(node), {key: counts[key]})
            self._remove(pipe, node, lost)
            pipe.execute()
            if lost:
                self._client.srem(self._held(node), *lost)

    def resolve(self, keys: Sequence[str]) -> Routes:
        """See Directory; one round trip, or two where the registry has changed since the last look."""
        with answering():
            pipe = self._client.pipeline(transaction=False)
            for key in keys:
                pipe.hkeys(self._dir(key))
            anew = self._table.ask(pipe)
            answers = pipe.execute()
            fields, told = answers[: len(keys)], answers[len(keys) :]
            leases = self._table.learn(told) if anew else self._table.still(told) or self._leases()
        return Routes(_holding(keys, fields, leases), leases.settled, leases.in_order)

    def _leases(self) -> Leases:
        pipe = self._client.pipeline(transaction=False)
        self._table.ask(pipe, anew=True)
        return self._table.learn(pipe.execute())

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        """See Directory; one round trip."""
        with answering():
            pipe = self._client.pipeline(transaction=False)
            self._registry.ask(pipe)
            for key in keys:
                pipe.hgetall(self._dir(key))
            time, ends, born, *fields = pipe.execute()
        live = self._registry.read([time, ends, born]).live
        return {
            key: sum(int(count) for node, count in nodes.items() if node in live)
            for key, nodes in zip(keys, fields, strict=True)
        }

    def top_rooms(self, limit: int) -> list[tuple[str, int]]:
        """See Directory.

        Fagin's threshold algorithm: read each node's largest rooms to a depth, count those exactly, and stop once no
        unread room can beat the last of the best, since it has at most the sum of what each node's list ended with.
        Source: Fagin, Lotem, Naor, "Optimal aggregation algorithms for middleware", 2003.
        """
        if limit < 1:
            return []
        depth = limit
        while True:
            lists = self._largest_rooms(depth)
            candidates = sorted({room for rooms in lists for room, _ in rooms})
            totals = self.counts(candidates)
            best = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:limit]
            unread = sum(rooms[-1][1] for rooms in lists if len(rooms) == depth)
            if not unread or (len(best) == limit and best[-1][1] >= unread):
                return [(key.removeprefix(key_names.ROOM_PREFIX), count) for key, count in best if count]
            depth *= 4

    def sweep(self, node: str) -> Iterator[int]:
        """See Directory."""
        with answering():
            held = self._client.sscan_iter(self._held(node), count=_SWEEP_BATCH)
            for batch in _batches(held, _SWEEP_BATCH):
                pipe = self._client.pipeline(transaction=False)
                self._remove(pipe, node, batch)
                pipe.execute()
                yield len(batch)
            self._client.delete(self._held(node), self._rooms(node))

    def _largest_rooms(self, depth: int) -> list[list[tuple[str, float]]]:
        nodes = [info.node for info in self._registry.live()]
        with answering():
            pipe = self._client.pipeline(transaction=False)
            for node in nodes:
                pipe.zrevrange(self._rooms(node), 0, depth - 1, withscores=True)
            return [[(room, count) for room, count in rooms] for rooms in pipe.execute()]

    def _remove(self, pipe: "redis.client.Pipeline", node: str, keys: Iterable[str]) -> None:
        for key in keys:
            pipe.hdel(self._dir(key), node)
            if key_names.room_of(key) is not None:
                pipe.zrem(self._rooms(node), key)

    def _dir(self, key: str) -> str:
        return f"{self._namespace}:dir:{key}"

    def _held(self, node: str) -> str:
        return f"{self._namespace}:held:{node}"

    def _rooms(self, node: str) -> str:
        return f"{self._namespace}:rooms:{node}"


def _holding(keys: Sequence[str], fields: Sequence[list[str]], leases: Leases) -> dict[str, tuple[str, ...]]:
    """Give each key's live nodes, by name; most keys have one."""
    live = leases.live
    holders: dict[str, tuple[str, ...]] = {}
    for key, nodes in zip(keys, fields, strict=True):
        if len(nodes) == 1 and nodes[0] in live:
            holders[key] = (nodes[0],)
        else:
            holders[key] = tuple(sorted(node for node in nodes if node in live))
    return holders


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
