#!lua flags=allow-oom
-- Let jobs of a task that has limits run, or wait: what has ended gives back its permit, what asks gets one or waits, and
-- what has waited longest is next.
--
-- KEYS  1 stream  2 leases  3 permits of the task (hash: entry -> daemon)
--       4 its rate (string: us of the server's clock at which all its tokens will be there again)
-- ARGV  1 group  2 daemon  3 consumer under which its jobs wait  4 prefix of the `cancel:` keys
--       5 most jobs that run at once ('' = any number)  6 us between two tokens ('' = no rate)  7 most tokens saved up
--       8 most waiting jobs to take  9 most bytes of them  10 '1': look whether every permit is still in use
--       11 ms that permits are kept when nothing happens  12 how many of these entries have ended
--       13 how many of the next ones go back unstarted  14 tokens that were taken for jobs which did not start
--       15.. these entries, then those that ask
--
-- Returns {-1} when fenced, {-2, key} where a key of another type is in a place of ours, else
--   {0, how many more could run at once now (-1: nothing waits), server ms at which the next token is there or -1, server ms,
--    {per entry that asks: 0 run, 1 waits, 2 not ours}, {{entry, delivery count, fields, cancelled (1 or 0)}, ...}}
--
-- Invariant: a job is pending all the time, for a daemon or for the consumer under which its task's jobs wait; so nothing is
-- lost, nothing is copied, the order is that of the entries, and no delivery is counted. A permit counts while its entry is
-- pending for a daemon that is in `leases`: what ends without giving it back is found by the look at every permit. Who
-- waits goes before who asks. A permit is written before its job changes hands: one too many is found, one too few is not.

local stream, leases, permits, rate = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, me, waiting, cancel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local limit, interval_us, most_tokens = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local wanted, bytes_left, keep_ms = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[11]
local FIRST_ENTRY, MOST = 15, 1000
local RUN, WAITS, NOT_OURS = 0, 1, 2
local first_back = FIRST_ENTRY + ARGV[12]
local first_asked = first_back + ARGV[13]

if not redis.call('HGET', leases, me) then return {-1} end
for key, wanted_type in pairs({[permits] = 'hash', [rate] = 'string'}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted_type then return {-2, key} end
end

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function pending(entry, consumer)
  return redis.call('XPENDING', stream, group, entry, entry, 1, consumer)[1] ~= nil
end

local function oldest_waiting(count)
  return redis.call('XPENDING', stream, group, '-', '+', count, waiting)
end

local function have_it_wait(entry)
  redis.call('XCLAIM', stream, group, waiting, '0', entry, 'JUSTID')
end

local group_is_there = redis.pcall('XPENDING', stream, group, '-', '+', 1, waiting)
if group_is_there.err then
  if not string.find(tostring(group_is_there.err), 'NOGROUP', 1, true) then return group_is_there end
  local answers = {}
  for i = first_asked, #ARGV do answers[#answers + 1] = NOT_OURS end
  return {0, -1, -1, now_ms, answers, {}}
end

-- What comes back.

local refunded = tonumber(ARGV[14])
for i = FIRST_ENTRY, first_asked - 1 do
  if redis.call('HGET', permits, ARGV[i]) == me then redis.call('HDEL', permits, ARGV[i]) end
  if i >= first_back and pending(ARGV[i], me) then
    have_it_wait(ARGV[i])
    refunded = refunded + 1
  end
end

local answers, undecided = {}, {}
for i = first_asked, #ARGV do
  local n = i - first_asked + 1
  if not pending(ARGV[i], me) then
    answers[n] = NOT_OURS
  elseif limit and redis.call('HEXISTS', permits, ARGV[i]) == 1 then  -- it was asked for before, or by a dead owner
    redis.call('HSET', permits, ARGV[i], me)
    answers[n] = RUN
  else
    undecided[#undecided + 1] = n
  end
end

if ARGV[10] ~= '' then
  local held = redis.call('HGETALL', permits)
  for i = 1, #held, 2 do
    if not (redis.call('HGET', leases, held[i + 1]) and pending(held[i], held[i + 1])) then
      redis.call('HDEL', permits, held[i])
    end
  end
end

-- What there is to give. The tokens are a bucket: `full_us` is when it is full again, each token taken moves it on.

local full_us = now_us
if interval_us then
  local told_us = tonumber(redis.call('GET', rate) or '') or 0
  full_us = math.min(told_us, now_us + most_tokens * interval_us)  -- it may have been written under another rate
  full_us = math.max(now_us, full_us - refunded * interval_us)
end

local function could_run()
  local count = MOST
  if limit then count = math.min(count, limit - redis.call('HLEN', permits)) end
  if interval_us then
    count = math.min(count, most_tokens - math.ceil((full_us - now_us) / interval_us - 0.000001))
  end
  return math.max(0, count)
end

local left, given = could_run(), 0
local function give(entry)
  if limit then redis.call('HSET', permits, entry, me) end
  left, given = left - 1, given + 1
end

local others_wait = oldest_waiting(1)[1] ~= nil
for _, n in ipairs(undecided) do
  local entry = ARGV[first_asked + n - 1]
  if left >= 1 and not others_wait then
    give(entry)
    answers[n] = RUN
  else
    have_it_wait(entry)
    answers[n] = WAITS
  end
end

local function id_of(entry, fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'id' then return fields[i + 1] end
  end
  return entry
end

local taken = {}
local next_ones = (left >= 1 and wanted >= 1) and oldest_waiting(math.min(left, wanted)) or {}
for _, row in ipairs(next_ones) do
  if bytes_left <= 0 then break end
  local entry = row[1]
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if found then
    give(entry)
    redis.call('XCLAIM', stream, group, me, '0', entry, 'JUSTID')
    taken[#taken + 1] = {entry, row[4], found[2], redis.call('EXISTS', cancel .. id_of(entry, found[2]))}
    for i = 1, #found[2] do bytes_left = bytes_left - #found[2][i] end
  else  -- a person removed it from the stream
    redis.call('XACK', stream, group, entry)
  end
end

full_us = interval_us and full_us + given * interval_us or full_us
if interval_us and given + refunded > 0 then
  local left_ms = math.ceil((full_us - now_us) / 1000)
  if left_ms > 0 then
    redis.call('SET', rate, string.format('%.2f', full_us), 'PX', string.format('%.0f', left_ms))
  else
    redis.call('DEL', rate)
  end
end
if limit then redis.call('PEXPIRE', permits, keep_ms) end

if oldest_waiting(1)[1] == nil then return {0, -1, -1, now_ms, answers, taken} end
local more = could_run()
local next_ms = -1
if more == 0 and interval_us and not (limit and redis.call('HLEN', permits) >= limit) then
  next_ms = math.ceil((full_us - (most_tokens - 1) * interval_us) / 1000)
end
return {0, more, next_ms, now_ms, answers, taken}
