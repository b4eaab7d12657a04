#!lua flags=allow-oom
-- Move scheduled jobs that are due, by the server's clock, into the stream, and end groups whose deadline is over.
--
-- KEYS  1 stream  2 scheduled
-- ARGV  1 prefix of the queue's keys  2 most jobs to move  3 most bytes to move
--       4 ms that a claim is kept while its job is on its way  5 ms that a cancellation is kept at least
--
-- Returns {moved and ended, score of the next job or deadline of a group, or ''}
--
-- Invariant: a job is in the stream before it leaves the set. Its claim (`seen`) goes with it to the new entry. A cancelled
-- job is moved too: whoever fetches it is told so by `admit` and records the outcome; its cancellation is kept until then.
-- A member that is not ours (`id bytes:signature bytes:n:t:` then id, signature, message) is moved whole, as a message.

local stream, scheduled = KEYS[1], KEYS[2]
local prefix, left, bytes_left, claim_ms, cancel_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local SLICE, GROUPS, PUT_OFF_MS = 50, 10, 5000

local function add(member)
  local _, last, id_bytes, signature_bytes, n, t = string.find(member, '^(%d+):(%d+):([%d ]+):(%d+):')
  if not last or last + id_bytes + signature_bytes > #member then
    return redis.call('XADD', stream, '*', 'm', member)
  end
  local job = string.sub(member, last + 1, last + id_bytes)
  local signature = string.sub(member, last + id_bytes + 1, last + id_bytes + signature_bytes)
  local message = string.sub(member, last + id_bytes + signature_bytes + 1)
  local entry
  if signature ~= '' then
    entry = redis.call('XADD', stream, '*', 'm', message, 'id', job, 'n', n, 't', t, 's', signature)
  else
    entry = redis.call('XADD', stream, '*', 'm', message, 'id', job, 'n', n, 't', t)
  end
  local seen, cancel = prefix .. 'seen:' .. job, prefix .. 'cancel:' .. job
  if redis.pcall('GET', seen) == 'scheduled' then redis.call('SET', seen, entry, 'PX', claim_ms) end
  local cancelled_ms = redis.call('PTTL', cancel)
  if cancelled_ms >= 0 and cancelled_ms < tonumber(cancel_ms) then redis.call('PEXPIRE', cancel, cancel_ms) end
end

local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local moved = 0
while left > 0 and bytes_left > 0 do
  local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, math.min(SLICE, left))
  if #due == 0 then break end
  for _, member in ipairs(due) do
    if bytes_left <= 0 then break end
    add(member)
    redis.call('ZREM', scheduled, member)
    moved = moved + 1
    left = left - 1
    bytes_left = bytes_left - #member
  end
end

-- A group whose members may yet be waiting is cancelled before it ends, if that was wished: whoever has one is told so by
-- `admit` or `renew`. One that cannot end, for a key of another type, is put off: it holds up no other.
local groups = prefix .. 'groups'
local over = redis.pcall('ZRANGEBYSCORE', groups, '-inf', now_ms, 'LIMIT', 0, GROUPS)
for n = 1, #over do
  local id = over[n]
  if redis.pcall('HGET', prefix .. 'group:' .. id, 'cancel_rest') == '1' then
    redis.pcall('SET', prefix .. 'cancel:' .. id, '1', 'PX', claim_ms)
  end
  if end_group(prefix, id) then redis.call('ZADD', groups, now_ms + PUT_OFF_MS, id) end
  moved = moved + 1
end

local earliest = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2]
local next_group = redis.pcall('ZRANGE', groups, 0, 0, 'WITHSCORES')[2]
if next_group and (not earliest or tonumber(next_group) < tonumber(earliest)) then earliest = next_group end
return {moved, earliest or ''}
