#!lua flags=allow-oom
-- Take over the pending jobs of daemons whose lease is missing or has run out, and forget consumers that are no more.
--
-- KEYS  1 stream  2 leases  3 scheduled  4 paused
-- ARGV  1 group  2 daemon  3 server ms of our previous pass (0 = first on this connection)
--       4 server ms until which to take nothing  5 ms after which a pause was an outage  6 ms to stay quiet after one
--       7 most entries to take  8 most bytes to take  9 lease in ms  10 what consumers begin with that stand for waiting jobs
--
-- Returns {server ms, quiet until, score of the next scheduled job or deadline of a group or '', fenced (1 or 0),
--          {daemon taken from, ...}, {{entry id, delivery count, fields}, ...}, why the queue is paused or nil,
--          {consumer of jobs that wait, ...}, ms when the oldest entry came that was never delivered or '', how many of
--          those there are or ''}
--
-- Invariant: a pass renews the lease of who makes it, unless that is gone. The lease of the dead goes first, then their
-- jobs, in one script: from then on whatever the old owner does is fenced. What is over the limit stays pending for an owner
-- without a lease, and the next pass takes it. After an outage nobody takes anything until all have had the time to renew. A
-- consumer is deleted only if this script saw it without a lease and with nothing pending: DELCONSUMER drops pending jobs
-- without a word. Jobs that wait for a limit of their task are nobody's, and stay where they are.

local stream, leases, scheduled = KEYS[1], KEYS[2], KEYS[3]
local group, me = ARGV[1], ARGV[2]
local previous_ms, quiet_until_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local left, bytes_left = tonumber(ARGV[7]), tonumber(ARGV[8])
local lease_ms, waiting_prefix = ARGV[9], ARGV[10]
local SLICE = 50

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local taken, taken_from, waiting = {}, {}, {}
local paused = redis.pcall('GET', KEYS[4])
if type(paused) ~= 'string' then paused = false end

local next_score = redis.pcall('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2] or ''
local next_group = redis.pcall('ZRANGE', string.sub(stream, 1, -7) .. 'groups', 0, 0, 'WITHSCORES')[2]
if next_group and (next_score == '' or tonumber(next_group) < tonumber(next_score)) then next_score = next_group end

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local function backlog()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return '', '' end  -- no stream, or no right to ask
  for _, known in ipairs(groups) do
    if value_of(known, 'name') == group then
      local after = '(' .. value_of(known, 'last-delivered-id')
      local entry = redis.call('XRANGE', stream, after, '+', 'COUNT', 1)[1]
      return entry and string.match(entry[1], '^%d+') or '', value_of(known, 'lag') or ''
    end
  end
  return '', ''
end

local function answer(fenced)
  local oldest_ms, undelivered = backlog()
  return {now_ms, quiet_until_ms, next_score, fenced, taken_from, taken, paused, waiting, oldest_ms, undelivered}
end

if not redis.call('HGET', leases, me) then return answer(1) end
redis.call('HSET', leases, me, string.format('%.0f', now_ms + lease_ms))
if now_ms - previous_ms > tonumber(ARGV[5]) then quiet_until_ms = now_ms + ARGV[6] end
quiet_until_ms = math.min(quiet_until_ms, now_ms + ARGV[6])  -- a clock that was ahead and was set back made it later

local alive = {}
local pairs_of_leases = redis.call('HGETALL', leases)
for i = 1, #pairs_of_leases, 2 do
  local name, until_ms = pairs_of_leases[i], tonumber(pairs_of_leases[i + 1])
  alive[name] = name == me or (until_ms ~= nil and until_ms > now_ms)  -- we are: we ask
end

local function stands_for_waiting(name)
  return string.sub(name, 1, #waiting_prefix) == waiting_prefix
end

local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
if consumers.err then  -- no stream, no group: the next read makes them again
  return answer(0)
end
for _, consumer in ipairs(consumers) do
  local name = value_of(consumer, 'name')
  if stands_for_waiting(name) and value_of(consumer, 'pending') > 0 then waiting[#waiting + 1] = name end
end
if now_ms < quiet_until_ms then return answer(0) end

local function take_slice(owner)
  local rows = redis.call('XPENDING', stream, group, '-', '+', math.min(SLICE, left), owner)
  if #rows == 0 then return false end
  local command, deliveries = {'XCLAIM', stream, group, me, '0'}, {}
  for i = 1, #rows do
    command[i + 5] = rows[i][1]
    deliveries[rows[i][1]] = rows[i][4] + 1
  end
  -- XCLAIM itself forgets entries that a person removed from the stream, so every slice makes the list shorter.
  for _, entry in ipairs(redis.call(unpack(command))) do
    taken[#taken + 1] = {entry[1], deliveries[entry[1]], entry[2]}
    for i = 1, #entry[2] do bytes_left = bytes_left - #entry[2][i] end
    left = left - 1
  end
  return true
end

for _, consumer in ipairs(consumers) do
  local name, pending = value_of(consumer, 'name'), value_of(consumer, 'pending')
  if not alive[name] then
    if pending == 0 then
      redis.call('HDEL', leases, name)
      redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
    elseif left > 0 and bytes_left > 0 and not stands_for_waiting(name) then
      redis.call('HDEL', leases, name)
      taken_from[#taken_from + 1] = name
      while left > 0 and bytes_left > 0 and take_slice(name) do end
    end
  end
end
for name, is_alive in pairs(alive) do
  if not is_alive then
    local row = redis.call('XPENDING', stream, group, '-', '+', 1, name)
    if #row == 0 then redis.call('HDEL', leases, name) end
  end
end
return answer(0)
