-- Take jobs that have not started out of the daemons' reach, to move them to another queue.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 group  2 mover  3 lease in ms  4 most jobs  5 most bytes
--       6 what movers begin with  7 what consumers begin with that stand for waiting jobs
--
-- Returns {{entry id, fields}, ...}: those that an interrupted move has left, those that wait for a limit of their task,
--   and then those that nobody has fetched.
--
-- Invariant: a mover is to the queue what a daemon is: its lease is written before it takes anything, each call extends it,
-- and what it has taken is pending for it. So a move that ends in the middle loses nothing: any daemon takes it over when
-- the lease has run out. One job is always taken if there is one, whatever its size.

local stream, leases = KEYS[1], KEYS[2]
local group, me = ARGV[1], ARGV[2]
local left, bytes_left = tonumber(ARGV[4]), tonumber(ARGV[5])
local mover_prefix, waiting_prefix = ARGV[6], ARGV[7]

local kind = redis.call('TYPE', stream).ok
if kind == 'none' then return {} end
local made = redis.pcall('XGROUP', 'CREATE', stream, group, '0')
if type(made) == 'table' and made.err and not string.find(tostring(made.err), 'BUSYGROUP', 1, true) then return made end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', leases, me, string.format('%.0f', now_ms + ARGV[3]))

local taken, size = {}, 0

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local function begins_with(name, prefix) return string.sub(name, 1, #prefix) == prefix end

local function has_room(row)
  local bytes = 0
  for i = 1, #row[2] do bytes = bytes + #row[2][i] end
  if #taken > 0 and bytes > bytes_left then return false end
  bytes_left, left = bytes_left - bytes, left - 1
  return true
end

local function claim_slice(consumer)
  local pending = redis.call('XPENDING', stream, group, '-', '+', left, consumer)
  for _, one in ipairs(pending) do
    local row = redis.call('XRANGE', stream, one[1], one[1])[1]
    if not row then
      redis.call('XACK', stream, group, one[1])
    elseif not has_room(row) then
      return false
    else
      redis.call('XCLAIM', stream, group, me, '0', one[1], 'JUSTID')
      taken[#taken + 1] = row
    end
  end
  return #pending > 0
end

for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local name = value_of(one, 'name')
  local until_ms = tonumber(redis.call('HGET', leases, name) or '') or 0
  local was_left = begins_with(name, mover_prefix) and until_ms <= now_ms
  if (was_left or begins_with(name, waiting_prefix)) then
    while left > 0 and claim_slice(name) do end
  end
end

local last = '-'
for _, one in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  if value_of(one, 'name') == group then last = '(' .. value_of(one, 'last-delivered-id') end
end
if left > 0 then
  for _, row in ipairs(redis.call('XRANGE', stream, last, '+', 'COUNT', left)) do
    if not has_room(row) then break end
    taken[#taken + 1] = row
    size = size + 1
  end
end
if size > 0 then redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', size, 'STREAMS', stream, '>') end
return taken
