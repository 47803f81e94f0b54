"""Inbox: the durable messages of each key, in the order in which they were accepted.

Guarantees:

- *Contiguous*: each message of a key has the offset after the last one's, from 1 on; nobody else gets that offset.
  What is missing between two that are there was cancelled, has expired, or was trimmed (see :class:`Position`).
- *Once*: an append that is repeated with *again* finds the message that it has appended before.
- *Told*: offsets belong to an *epoch*.  Redis may have lost its last writes whenever its process is another one (a
  restart, a failover), and could then give an offset a second time; so a key's next append begins a new epoch, which
  the append script finds out from Redis' run id, in the same step.  A key's epochs are a chain, with the offset at
  which each began: a cursor of an older one is still good up to where that ended.  A store that was emptied has a new
  chain.
- *Bounded*: by count and bytes for each key, by ``ttl_s`` for each message.

Each key's two names share one hash slot.  ``inbox:{key}:log`` is a stream whose ids are the offsets;
``inbox:{key}:meta`` outlives it, so that offsets go on.  Times are Redis' own.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from proto import keys as key_names
from proto.message import Message, Place
from store.batch import Batch, Script
from store.clock import StoreClock
from store.settings import StoreSettings

_META_KEPT_MS = 30 * 86_400_000  # longer than any ttl_s
_EPOCHS_KEPT = 16

# KEYS: meta, log.  ARGV: push_id, op, body, ttl in ms, a new epoch, most messages, most bytes, from when on it
# may be there already (-1: never), meta's life in ms, epochs kept.  Answers {epoch, offset, now in ms, expires in ms}.
_APPEND = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local meta = redis.call('HMGET', KEYS[1], 'run', 'chain', 'last', 'bytes', 'trimmed', 'until')
local chain, last = meta[2] or '', tonumber(meta[3] or 0)
local bytes, trimmed, keep = tonumber(meta[4] or 0), tonumber(meta[5] or 0), tonumber(meta[6] or 0)

local function epoch_of(offset)
  local found
  for epoch, first in string.gmatch(chain, '(%w+):(%d+)') do
    if tonumber(first) <= offset then found = epoch end
  end
  return found or ''
end
local function field(entry, name)
  for i = 1, #entry[2], 2 do if entry[2][i] == name then return entry[2][i + 1] end end
end

local doubt = tonumber(ARGV[8])
if doubt >= 0 and now >= doubt then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
    if field(entry, 'p') == ARGV[1] then
      local offset = tonumber(string.match(entry[1], '^%d+'))
      return {epoch_of(offset), offset, now, tonumber(field(entry, 'x'))}
    end
  end
end

local offset = last + 1
if meta[1] ~= run then
  local kept = {}
  for link in string.gmatch(chain, '%w+:%d+') do kept[#kept + 1] = link end
  kept[#kept + 1] = ARGV[5] .. ':' .. offset
  chain = table.concat(kept, ',', math.max(1, #kept - ARGV[10] + 1))
end

if redis.call('EXISTS', KEYS[2]) == 0 then bytes = 0 end  -- it expired as a whole
local function drop(entry)
  redis.call('XDEL', KEYS[2], entry[1])
  bytes = bytes - #field(entry, 'b')
end
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 8)) do
  if tonumber(field(entry, 'x')) > now then break end
  drop(entry)
end
local expires = now + ARGV[4]
redis.call('XADD', KEYS[2], offset .. '-0', 'p', ARGV[1], 'o', ARGV[2], 'b', ARGV[3], 'x', expires, 'a', now)
bytes = bytes + #ARGV[3]
local function over()
  local count = redis.call('XLEN', KEYS[2])
  return count > tonumber(ARGV[6]) or (count > 1 and bytes > tonumber(ARGV[7]))
end
while over() do
  local entry = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  drop(entry)
  if tonumber(field(entry, 'x')) > now then trimmed = tonumber(string.match(entry[1], '^%d+')) end
end
keep = math.max(keep, expires)
redis.call('HSET', KEYS[1], 'run', run, 'chain', chain, 'last', offset)
redis.call('HSET', KEYS[1], 'bytes', bytes, 'trimmed', trimmed, 'until', keep)
redis.call('PEXPIREAT', KEYS[2], keep)
redis.call('PEXPIRE', KEYS[1], ARGV[9])
return {epoch_of(offset), offset, now, expires}
""")

# KEYS: meta, log.  ARGV: push_id.  Removes that push's message; answers its offset, or 0 if there is none.
_REMOVE = Script("""
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if fields.p == ARGV[1] then
    redis.call('HINCRBY', KEYS[1], 'bytes', -#fields.b)
    redis.call('XDEL', KEYS[2], entry[1])
    return tonumber(string.match(entry[1], '^%d+'))
  end
end
return 0
""")

# KEYS: meta, log.  ARGV: the stream id after which to read, most messages.  Answers {what ask() asks for, entries}: of
# one moment, since an append between the two could begin an epoch, or trim, and the page would be wrong about it.
_READ = Script("""
return {
  redis.call('HMGET', KEYS[1], 'chain', 'last', 'trimmed'),
  redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2]),
}
""")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a key's inbox reaches.

    *chain* lists its epochs, oldest first, each with its first offset; it is empty for a key that nobody has appended
    to.  *last* is the newest offset given; *trimmed* the newest that was dropped before it expired, to keep the
    bounds.
    """

    chain: tuple[Place, ...] = ()
    last: int = 0
    trimmed: int = 0

    @property
    def end(self) -> Place:
        """The newest place: what a session that has seen all holds."""
        return Place(self.chain[-1].epoch if self.chain else "", self.last)

    def knows(self, place: Place) -> bool:
        """Tell whether *place* was given in what is known here: else the store has lost what was there."""
        return place.offset <= self.last and place.epoch == self.epoch_of(place.offset)

    def epoch_of(self, offset: int) -> str:
        """Name the epoch that *offset* belongs to; "" when it is older than the chain."""
        return next((link.epoch for link in reversed(self.chain) if link.offset <= offset), "")


class Kept(NamedTuple):
    """One message of an inbox; times are Unix ms."""

    offset: int
    push_id: str
    message: Message
    expires_ms: int
    accepted_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """What was read of one key: *messages* after the offset *after*, oldest first, expired ones left out.

    *through* is the offset up to which this is all there is; *more* tells that there is more behind it.
    """

    key: str
    position: Position
    after: int
    messages: tuple[Kept, ...]
    through: int
    more: bool


class Appended(NamedTuple):
    """Where a message was put, and the times that Redis gave it."""

    place: Place
    accepted_ms: int
    expires_ms: int


class Inbox:
    """Appends to and reads the inboxes.  Thread-safe.  Every method that sends may raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, settings: StoreSettings, clock: StoreClock) -> None:
        self._client = client
        self._clock = clock
        self._namespace = settings.store_namespace
        self._most, self._most_for_all = settings.inbox_max_messages, settings.inbox_max_messages_all
        self._most_bytes = settings.inbox_max_bytes

    def append(
        self,
        batch: Batch,
        key: str,
        push_id: str,
        message: Message,
        ttl_ms: int,
        *,
        again: bool = False,
        alone_until_ms: int | None = None,
    ) -> int:
        """Add an append to *batch*; its answer is for :meth:`appended`.

        *again*: the push may have been appended before, by somebody who died; then that place is the answer.  So it is
        from *alone_until_ms* on, when somebody may have gone on with what the caller was too slow for.
        """
        in_doubt_from_ms = 0 if again else -1 if alone_until_ms is None else alone_until_ms
        most = self._most_for_all if key == key_names.ALL else self._most
        return batch.script(
            _APPEND,
            self._names(key),
            (
                push_id,
                message.op,
                message.body,
                ttl_ms,
                os.urandom(4).hex(),
                most,
                self._most_bytes,
                in_doubt_from_ms,
                _META_KEPT_MS,
                _EPOCHS_KEPT,
            ),
        )

    @staticmethod
    def appended(answer: Any) -> Appended:
        """Read the answer to an append."""
        epoch, offset, now_ms, expires_ms = answer
        return Appended(Place(epoch, offset), now_ms, expires_ms)

    def remove(self, batch: Batch, key: str, push_id: str) -> int:
        """Add to *batch* the removal of a push's message; answers its offset, or 0 if there is none (any more)."""
        return batch.script(_REMOVE, self._names(key), (push_id,))

    def ask(self, batch: Batch, key: str) -> int:
        """Add to *batch* the question how far *key* reaches; its answer is for :meth:`position`."""
        return batch.command("HMGET", self._names(key)[0], "chain", "last", "trimmed")

    @staticmethod
    def position(answer: Any) -> Position:
        """Read the answer to :meth:`ask`."""
        chain, last, trimmed = answer
        links = (link.split(":") for link in (chain or "").split(",") if link)
        return Position(tuple(Place(epoch, int(first)) for epoch, first in links), int(last or 0), int(trimmed or 0))

    def positions(self, keys: Sequence[str]) -> dict[str, Position]:
        """Say how far each key's inbox reaches; one round trip."""
        batch = Batch(self._client)
        for key in keys:
            self.ask(batch, key)
        return {key: self.position(answer) for key, answer in zip(keys, batch.run(), strict=True)}

    def read(self, after: Mapping[str, int], limit: int) -> dict[str, Page]:
        """Read up to *limit* messages of each key, those after its offset; one round trip."""
        batch = Batch(self._client)
        batch.command("TIME")
        for key, offset in after.items():
            batch.script(_READ, self._names(key), (f"({offset}-0", limit))
        time, *answers = batch.run()
        now_ms = self._clock.learn(*map(int, time))
        return {
            key: _page(key, offset, self.position(meta), entries, limit, now_ms)
            for (key, offset), (meta, entries) in zip(after.items(), answers, strict=True)
        }

    def _names(self, key: str) -> tuple[str, str]:
        return f"{self._namespace}:inbox:{{{slot(key)}}}:meta", f"{self._namespace}:inbox:{{{slot(key)}}}:log"


def slot(key: str) -> str:
    """Write *key* so that, in braces, it is a hash tag of Redis Cluster whatever braces it holds itself."""
    return key.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


def _page(key: str, after: int, position: Position, entries: Any, limit: int, now_ms: int) -> Page:
    read = [_kept(entry) for entry in entries]
    more = len(read) >= limit
    through = read[-1].offset if more else max(position.last, after)
    return Page(key, position, after, tuple(kept for kept in read if kept.expires_ms > now_ms), through, more)


def _kept(entry: Any) -> Kept:
    entry_id, fields = entry
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    return Kept(
        offset=int(entry_id.partition("-")[0]),
        push_id=pairs["p"],
        message=Message(int(pairs["o"]), pairs["b"].encode()),
        expires_ms=int(pairs["x"]),
        accepted_ms=int(pairs["a"]),
    )
