"""The scripts of the receipts, made from the one table of transitions, and the form in which a receipt is kept.

A hash per push.  ``m``: op, priority, durable, traced, accepted, not before, expires.  ``p``: the task's argument,
until a worker has it.  ``w:`` and a writer's name: the last of its batches that was counted.  ``k:`` and a key: its
state's letter, four times, sessions, acks, offset, epoch, reason, with commas between; empty stands for none.

Refuses to call anything: it only holds texts.
"""

from proto.message import Place
from store.batch import Script
from store.states import ENDINGS, TRANSITIONS, KeyReceipt, State

LETTERS = {
    State.SCHEDULED: "s",
    State.ACCEPTED: "a",
    State.DISPATCHED: "d",
    State.EMITTED: "e",
    State.ACKED: "k",
    State.OFFLINE: "o",
    State.FILTERED: "f",
    State.EXPIRED: "x",
    State.CANCELLED: "c",
    State.FAILED: "g",
}
STATES = {letter: state for state, letter in LETTERS.items()}
META, PAYLOAD, KEY, WRITER = "m", "p", "k:", "w:"

_MAY = ", ".join(f"['{LETTERS[before]}{LETTERS[to]}'] = '{owner}'" for (before, to), owner in TRANSITIONS.items())
_ENDINGS = ", ".join(f"{LETTERS[state]} = true" for state in sorted(ENDINGS))
# `step` gives a key's new value, or nil (and its state) where the table does not let the owner do that.
_STEP = f"""
local may = {{{_MAY}}}
local endings = {{{_ENDINGS}}}
local function least(one, other)
  if one == '' or tonumber(other) < tonumber(one) then return other end
  return one
end
local function step(value, to, owner, at, count, reason, epoch, offset)
  local state, dispatched, emitted, acked, ended, sessions, acks, at_offset, at_epoch, why =
    string.match(value, '^(%a),(%d*),(%d*),(%d*),(%d*),(%d*),(%d*),(%d*),(%w*),(.*)$')
  if may[state .. to] ~= owner then return nil, state end
  if endings[to] then
    if state ~= to then ended, why = at, reason end
  else
    if endings[state] then ended, why = '', '' end
    if to == 'd' then
      if state ~= 'd' then dispatched = at end
    else
      emitted = least(emitted, at)
      if to == 'e' then
        sessions = tonumber(sessions == '' and 0 or sessions) + count
      else
        acked = least(acked, at)
        acks = tonumber(acks == '' and 0 or acks) + count
      end
    end
  end
  if offset ~= '' then at_offset, at_epoch = offset, epoch end
  if state == 'k' and to == 'e' then to = 'k' end
  return table.concat({{to, dispatched, emitted, acked, ended, sessions, acks, at_offset, at_epoch, why}}, ','), to
end
"""

# KEYS: receipt.  ARGV: meta, payload, "at" or "in", when it or in how many ms it ends, state's letter, then the keys.
# Answers 1, or 0 if it was there.
CREATE = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'm', ARGV[1], 'p', ARGV[2])
for i = 5 + 1, #ARGV do redis.call('HSET', KEYS[1], 'k:' .. ARGV[i], ARGV[5] .. ',,,,,,,,,') end
redis.call(ARGV[3] == 'at' and 'PEXPIREAT' or 'PEXPIRE', KEYS[1], ARGV[4])
return 1
""")

# KEYS: receipt.  ARGV: time in ms, then for each key: key, epoch, offset.  Answers each key's letter, "" for none.
DISPATCH = Script(
    _STEP
    + """
local answers = {}
for i = 2, #ARGV, 3 do
  local field = 'k:' .. ARGV[i]
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    local new, state = step(value, 'd', 'job', ARGV[1], 0, '', ARGV[i + 1], ARGV[i + 2])
    if new and new ~= value then redis.call('HSET', KEYS[1], field, new) end
    answers[#answers + 1] = state
  else
    answers[#answers + 1] = ''
  end
end
redis.call('HDEL', KEYS[1], 'p')
return answers
"""
)

# KEYS: receipt.  ARGV: owner, writer or "", number of the batch, then for each step: key, letter, time in ms, count,
# reason, epoch, offset.  Answers 1 or 0 for each step.
ADVANCE = Script(
    _STEP
    + """
local counted = false
if ARGV[2] ~= '' then
  local last = redis.call('HGET', KEYS[1], 'w:' .. ARGV[2])
  counted = last and tonumber(last) >= tonumber(ARGV[3])
end
local answers, any = {}, false
for i = 4, #ARGV, 7 do
  local field = 'k:' .. ARGV[i]
  local value = redis.call('HGET', KEYS[1], field)
  local count = counted and 0 or tonumber(ARGV[i + 3])
  local new = value and step(value, ARGV[i + 1], ARGV[1], ARGV[i + 2], count, ARGV[i + 4], ARGV[i + 5], ARGV[i + 6])
  if new and new ~= value then redis.call('HSET', KEYS[1], field, new) end
  any = any or new
  answers[#answers + 1] = new and 1 or 0
end
if any and ARGV[2] ~= '' and not counted then redis.call('HSET', KEYS[1], 'w:' .. ARGV[2], ARGV[3]) end
return answers
"""
)

# KEYS: receipt.  ARGV: time in ms.  Answers the meta, then for each key: key, its letter before, 1 if it is cancelled
# now.  What has ended for good stays as it is: whatever has expired, and where an ephemeral push came to nobody.
CANCEL = Script(
    _STEP
    + """
local all = redis.call('HGETALL', KEYS[1])
if #all == 0 then return false end
local meta = redis.call('HGET', KEYS[1], 'm')
local durable, expires = string.match(meta, '^%S+ %S+ (%d) %d %d+ %d+ (%d+)$')
local late = tonumber(expires) > 0 and tonumber(ARGV[1]) >= tonumber(expires)
local answers = {meta}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'k:' then
    local before = string.sub(all[i + 1], 1, 1)
    local over = late or (durable == '0' and endings[before])
    local new = not over and step(all[i + 1], 'c', 'logic', ARGV[1], 0, '', '', '')
    if new and new ~= all[i + 1] then redis.call('HSET', KEYS[1], all[i], new) end
    answers[#answers + 1] = string.sub(all[i], 3)
    answers[#answers + 1] = before
    answers[#answers + 1] = new and 1 or 0
  end
end
redis.call('HDEL', KEYS[1], 'p')
return answers
"""
)


def read_key(value: str) -> KeyReceipt:
    """Read what is kept for one key."""
    letter, *numbers, epoch, reason = value.split(",", 9)
    dispatched, emitted, acked, ended, sessions, acks, offset = (int(number or 0) for number in numbers)
    return KeyReceipt(
        state=STATES[letter],
        dispatched_ms=dispatched,
        emitted_ms=emitted,
        acked_ms=acked,
        ended_ms=ended,
        sessions=sessions,
        acks=acks,
        reason=reason,
        place=Place(epoch, offset) if offset else None,
    )
