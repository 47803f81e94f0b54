"""Registry: which node incarnations are alive, by lease.

An incarnation (``host:port#boot``) that misses its lease is dead for good: :meth:`Registry.renew` never revives it,
so whoever saw it dead may remove its mappings at any later time without racing a comeback.  A node that finds its
lease gone takes a new incarnation and registers everything again under that.

That a key is missing proves nothing while nodes may be registering (again); the store is not *settled* then:

- a store that lost its data is young for ``settle_s`` after the first lease in it;
- a lease lapsed a moment ago and nobody has swept what it covered: its node may be about to come back;
- all leases lapsed: rather the store was paused than every node died at once.  Whichever node finds the store again
  first calls :meth:`Registry.unsettle` before it registers, so the others have ``settle_s`` to follow.

All leases live in one sorted set (score = end of the lease, in ms of Redis' own clock), so no clock of ours matters.
Whatever changes who may be alive, other than a renewal, changes the *version* too, after it: what was read under one
version holds while the version stays and no lease that was read runs out (store/node_table.py).
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import orjson
import redis
import structlog

from store.clock import StoreClock
from store.connection import answering
from store.settings import StoreSettings

# KEYS: leases, info, born, version.  ARGV: incarnation, ttl in ms, info, "new" or "renew", a new version.
# Answers 1, or 0 for a lapsed lease.
_LEASE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] == 'renew' then
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not ends or tonumber(ends) <= now then return 0 end
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], now, 'NX')
if ARGV[4] == 'new' then redis.call('SET', KEYS[4], ARGV[5]) end
return 1
"""

# KEYS: leases, info, version.  ARGV: incarnation, a new version.  Removes it only when its lease is over.
_BURY = """
local time = redis.call('TIME')
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) > time[1] * 1000 + math.floor(time[2] / 1000) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2])
return 1
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node says of itself with each renewal.

    *node* names the incarnation, *grpc* is the ``host:port`` that workers dial, *url* the Socket.IO address for
    browsers; *probe_age_ms* is how long ago its last data-path probe came back, None when none has.
    """

    node: str
    grpc: str
    url: str
    sessions: int = 0
    draining: bool = False
    probe_age_ms: int | None = None
    started_ms: int = 0

    @classmethod
    def from_json(cls, node: str, text: str) -> Self:
        """Read what another release may have written: unknown fields are ignored."""
        fields = {name: value for name, value in orjson.loads(text).items() if name in cls.__dataclass_fields__}
        return cls(**{**fields, "node": node})


@dataclass(frozen=True, slots=True)
class Leases:
    """A moment's view of the registry."""

    live: frozenset[str]
    lapsed: tuple[str, ...]
    settled: bool

    @property
    def in_order(self) -> tuple[str, ...]:
        """The live ones by name."""
        return tuple(sorted(self.live))


class Registry:
    """Reads and writes the leases.  *clock* is taught Redis' time by every look at them, at no cost."""

    def __init__(self, client: redis.Redis, settings: StoreSettings, clock: StoreClock | None = None) -> None:
        self._client = client
        self._clock = clock
        # The braces keep both in one hash slot of a Redis Cluster.
        self._leases = f"{settings.store_namespace}:{{registry}}:leases"
        self._info = f"{settings.store_namespace}:{{registry}}:info"
        self._born = f"{settings.store_namespace}:{{registry}}:born"
        self._version = f"{settings.store_namespace}:{{registry}}:version"
        self._settle_ms = settings.settle_s * 1000
        self._lease_script = client.register_script(_LEASE)
        self._bury_script = client.register_script(_BURY)

    def register(self, info: NodeInfo, ttl_s: float) -> None:
        """Begin the lease of a new incarnation."""
        self._lease(info, ttl_s, "new")

    def renew(self, info: NodeInfo, ttl_s: float) -> bool:
        """Extend the lease of *info.node*; False when it had lapsed or the store lost it: then it is over."""
        return self._lease(info, ttl_s, "renew")

    def retire(self, node: str) -> None:
        """End the lease of *node* at once; its mappings count no more, and can be swept."""
        with answering():
            pipe = self._client.pipeline(transaction=True)
            pipe.zadd(self._leases, {node: 0})
            pipe.set(self._version, _new_version())
            pipe.execute()

    def live(self) -> list[NodeInfo]:
        """List the nodes whose lease runs, by name."""
        with answering():
            pipe = self._client.pipeline(transaction=False)
            self.ask(pipe)
            pipe.hgetall(self._info)
            *lease_answers, info = pipe.execute()
        leases = self.read(lease_answers)
        alive = (_read_info(node, text) for node, text in info.items() if node in leases.live)
        return sorted((node for node in alive if node is not None), key=lambda node: node.node)

    def lapsed(self) -> tuple[str, ...]:
        """List the incarnations whose lease is over and that nobody has buried."""
        with answering():
            pipe = self._client.pipeline(transaction=False)
            self.ask(pipe)
            return self.read(pipe.execute()).lapsed

    def bury(self, node: str) -> bool:
        """Forget *node*, only if its lease is over; False when it is alive."""
        with answering():
            keys = [self._leases, self._info, self._version]
            return bool(self._bury_script(keys=keys, args=[node, _new_version()]))

    def run_id(self) -> str:
        """Name this run of the store's process: another id means a restart or a failover."""
        with answering():
            return str(self._client.info("server")["run_id"])

    def unsettle(self) -> None:
        """Begin the store's youth again: it may have lost its last writes, or have outslept leases."""
        with answering():
            seconds, micros = self._client.time()
            pipe = self._client.pipeline(transaction=True)
            pipe.set(self._born, seconds * 1000 + micros // 1000)
            pipe.set(self._version, _new_version())
            pipe.execute()

    def ask(self, pipe: "redis.client.Pipeline") -> None:
        """Queue the commands whose answers :meth:`read` understands, to save others a round trip."""
        pipe.time()
        self.ask_leases(pipe)

    def ask_leases(self, pipe: "redis.client.Pipeline") -> None:
        """Queue the questions what leases are written, and since when the store is young."""
        pipe.zrange(self._leases, 0, -1, withscores=True)
        pipe.get(self._born)

    def ask_version(self, pipe: "redis.client.Pipeline") -> None:
        """Queue the question under which version the leases are now."""
        pipe.get(self._version)

    def read(self, answers: Sequence[Any]) -> Leases:
        """Tell the live from the lapsed by Redis' own clock."""
        time, leases, born = answers
        return self.at(self.now_ms(time), leases, born)

    def now_ms(self, time: tuple[int, int]) -> int:
        """Read the answer to TIME, in Unix ms."""
        seconds, micros = time
        if self._clock is not None:
            self._clock.learn(seconds, micros)
        return seconds * 1000 + micros // 1000

    def at(self, now_ms: int, leases: Sequence[tuple[str, float]], born: str | None) -> Leases:
        """Tell the live from the lapsed at *now_ms*, given what is written."""
        live = frozenset(node for node, ends in leases if ends > now_ms)
        grown = born is not None and now_ms - int(born) >= self._settle_ms
        missing = [ends for _, ends in leases if 0 < ends <= now_ms]  # 0: it said goodbye
        awaited = bool(missing) and (not live or now_ms - max(missing) < self._settle_ms)
        return Leases(
            live=live,
            lapsed=tuple(node for node, ends in leases if ends <= now_ms),
            settled=grown and not awaited,
        )

    def _lease(self, info: NodeInfo, ttl_s: float, how: str) -> bool:
        body = orjson.dumps(asdict(info))
        with answering():
            done = self._lease_script(
                keys=[self._leases, self._info, self._born, self._version],
                args=[info.node, int(ttl_s * 1000), cast(Any, body), how, _new_version()],
            )
        return bool(done)


def _new_version() -> str:
    """Make one that no store ever had: a count would come again in a store that lost its last writes."""
    return os.urandom(8).hex()


def _read_info(node: str, text: str) -> NodeInfo | None:
    """Read what *node* wrote; one that nobody can read must not hide the others."""
    try:
        return NodeInfo.from_json(node, text)
    except (ValueError, TypeError, AttributeError) as error:
        log.error("the registry holds what is no node", node=node, reason=repr(error))
        return None
