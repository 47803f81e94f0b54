"""Cursors: for each session key, how far it has acked each key's inbox.

For clients that keep no cursor of their own: a session that comes back under the same key resumes from here.

Guarantees: a cursor never goes back within an epoch, however often and in whatever order it is written; a session key
holds a bounded number of them (what is over goes, in no order) and they are kept for a week after the last ack.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from proto.message import Place
from store.batch import Batch, Script
from store.inbox import slot
from store.settings import StoreSettings

_KEPT_MS = 7 * 86_400_000  # as long as a message can live
_MOST = 256

# KEYS: the hash.  ARGV: life in ms, most fields, then key, epoch, offset for each.
_PUT = Script("""
for i = 3, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local epoch, offset = string.match(known or '', '^(%w*):(%d+)$')
  if epoch ~= ARGV[i + 1] or tonumber(offset) < tonumber(ARGV[i + 2]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ':' .. ARGV[i + 2])
  end
end
local over = redis.call('HLEN', KEYS[1]) - ARGV[2]
if over > 0 then redis.call('HDEL', KEYS[1], unpack(redis.call('HRANDFIELD', KEYS[1], over))) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
""")


class Cursors:
    """Adds to batches what reads and writes cursors; sends nothing itself."""

    def __init__(self, settings: StoreSettings) -> None:
        self._namespace = settings.store_namespace

    def put(self, batch: Batch, session_key: str, cursors: Mapping[str, Place]) -> int:
        """Add the writing of what *session_key* has acked."""
        fields = [part for key, place in cursors.items() for part in (key, *place)]
        return batch.script(_PUT, [self._name(session_key)], [_KEPT_MS, _MOST, *fields])

    def ask(self, batch: Batch, session_key: str, keys: Sequence[str]) -> int:
        """Add the question how far *session_key* has acked *keys*; its answer is for :meth:`read`."""
        return batch.command("HMGET", self._name(session_key), *keys)

    @staticmethod
    def read(keys: Sequence[str], answer: Any) -> dict[str, Place]:
        """Read an answer: the cursors that there are."""
        found = {key: text.rpartition(":") for key, text in zip(keys, answer, strict=True) if text}
        return {key: Place(epoch, int(offset)) for key, (epoch, _, offset) in found.items()}

    def _name(self, session_key: str) -> str:
        return f"{self._namespace}:acked:{{{slot(session_key)}}}"
