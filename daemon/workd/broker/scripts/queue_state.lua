-- Say how a queue is.
--
-- KEYS  1 stream  2 scheduled  3 dead  4 inbox  5 leases  6 paused  7 count of trimmed dead letters
-- ARGV  1 group  2 what consumers begin with that stand for waiting jobs
--
-- Returns {queued, waiting, running, scheduled, dead, inbox, daemons, trimmed, server ms, ms of the oldest that has not
--   started or '', ms at which the first scheduled job is due or '', value of `paused` or nil}; nil in place of a number
--   where a key has another type.
--
-- Invariant: nothing is written.

local stream, scheduled = KEYS[1], KEYS[2]
local group, waiting_prefix = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function count(command, key)
  local reply = redis.pcall(command, key)
  return type(reply) == 'number' and reply
end

local function text(key)
  local reply = redis.pcall('GET', key)
  return type(reply) == 'string' and reply
end

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local function ms_of(entry) return tonumber(string.match(entry, '^%d+')) end

local oldest_ms
local function note(rows)
  local entry_ms = not rows.err and rows[1] and ms_of(rows[1][1])
  if entry_ms and (not oldest_ms or entry_ms < oldest_ms) then oldest_ms = entry_ms end
end

local length, waiting, pending, last = count('XLEN', stream), 0, 0, '-'
local groups = redis.pcall('XINFO', 'GROUPS', stream)
for _, one in ipairs(groups.err and {} or groups) do
  if value_of(one, 'name') == group then
    pending, last = value_of(one, 'pending'), '(' .. value_of(one, 'last-delivered-id')
  end
end
local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
for _, one in ipairs(consumers.err and {} or consumers) do
  local name = value_of(one, 'name')
  if string.sub(name, 1, #waiting_prefix) == waiting_prefix and value_of(one, 'pending') > 0 then
    waiting = waiting + value_of(one, 'pending')
    note(redis.pcall('XPENDING', stream, group, '-', '+', 1, name))
  end
end
note(redis.pcall('XRANGE', stream, last, '+', 'COUNT', 1))

local daemons = false
local leases = redis.pcall('HVALS', KEYS[5])
if not leases.err then
  daemons = 0
  for _, until_ms in ipairs(leases) do
    if (tonumber(until_ms) or 0) > now_ms then daemons = daemons + 1 end
  end
end

local first = redis.pcall('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
return {
  length and math.max(0, length - pending),
  length and waiting,
  length and pending - waiting,
  count('ZCARD', scheduled),
  count('XLEN', KEYS[3]),
  count('LLEN', KEYS[4]),
  daemons,
  tonumber(text(KEYS[7]) or '') or 0,
  now_ms,
  oldest_ms and string.format('%.0f', oldest_ms) or '',
  not first.err and first[2] or '',
  text(KEYS[6]),
}
