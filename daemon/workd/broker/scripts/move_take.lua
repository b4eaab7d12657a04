-- Take jobs that have not started out of the daemons' reach, to move them to another queue.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 group  2 mover  3 lease in ms  4 most jobs  5 most bytes
--       6 what movers begin with  7 what consumers begin with that stand for waiting jobs
--       8 newest entry to take  9 prefix of the queue's keys  10 ms that a claim is kept while its job is on its way
--
-- Returns {{{entry id, fields}, ...}, how many stay}: those that an interrupted move has left, those that wait for a limit of
--   their task, and then those that nobody has fetched.
--
-- Members of a group stay: elsewhere nobody would count them. They go to the end of the queue, behind all that is taken.
-- Invariant: a mover is to the queue what a daemon is: its lease is written before it takes anything, each call extends it,
-- and what it has taken is pending for it. So a move that ends in the middle loses nothing: any daemon takes it over when
-- the lease has run out. One job is always taken if there is one, whatever its size.

local stream, leases = KEYS[1], KEYS[2]
local group, me = ARGV[1], ARGV[2]
local left, bytes_left = tonumber(ARGV[4]), tonumber(ARGV[5])
local mover_prefix, waiting_prefix = ARGV[6], ARGV[7]
local newest, prefix, claim_ms = ARGV[8], ARGV[9], ARGV[10]

local kind = redis.call('TYPE', stream).ok
if kind == 'none' then return {{}, 0} end
local made = redis.pcall('XGROUP', 'CREATE', stream, group, '0')
if type(made) == 'table' and made.err and not string.find(tostring(made.err), 'BUSYGROUP', 1, true) then return made end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', leases, me, string.format('%.0f', now_ms + ARGV[3]))

local taken, members, looked, size = {}, {}, 0, 0

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local function begins_with(name, prefix) return string.sub(name, 1, #prefix) == prefix end

local function has_room(row)
  local bytes = 0
  for i = 1, #row[2] do bytes = bytes + #row[2][i] end
  if looked > 0 and bytes > bytes_left then return false end
  bytes_left, left, looked = bytes_left - bytes, left - 1, looked + 1
  return true
end

-- Return the message of a job that is a member of a group.
local function told_of_member(row)
  local message = value_of(row[2], 'm') or ''
  if not string.find(message, '"group"', 1, true) then return nil end
  local fine, told = pcall(cjson.decode, message)
  return fine and type(told) == 'table' and type(told.group) == 'table' and told or nil
end

local function take(row)
  local told = told_of_member(row)
  if told then members[#members + 1] = {row, told} else taken[#taken + 1] = row end
end

local function move_claim(key, from, to)
  if redis.pcall('GET', key) == from then redis.call('SET', key, to, 'PX', claim_ms) end
end

-- Put a job to the end of this queue, as what it is.
local function stay(row, told)
  local entry, command = row[1], {'XADD', stream, '*', unpack(row[2])}
  local function add(name, value)
    if not value_of(row[2], name) then command[#command + 1], command[#command + 2] = name, value end
  end
  local job = value_of(row[2], 'id') or type(told.id) == 'string' and told.id or entry
  add('id', job)
  add('t', string.match(entry, '^%d+'))
  local again = redis.call(unpack(command))
  move_claim(prefix .. 'seen:' .. job, entry, again)
  if type(told.unique) == 'string' then
    move_claim(prefix .. 'unique:' .. told.unique, entry .. ' ' .. job, again .. ' ' .. job)
  end
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end

local function claim_slice(consumer)
  local pending = redis.call('XPENDING', stream, group, '-', newest, left, consumer)
  for _, one in ipairs(pending) do
    local row = redis.call('XRANGE', stream, one[1], one[1])[1]
    if not row then
      redis.call('XACK', stream, group, one[1])
    elseif not has_room(row) then
      return false
    else
      redis.call('XCLAIM', stream, group, me, '0', one[1], 'JUSTID')
      take(row)
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
  for _, row in ipairs(redis.call('XRANGE', stream, last, newest, 'COUNT', left)) do
    if not has_room(row) then break end
    take(row)
    size = size + 1
  end
end
if size > 0 then redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', size, 'STREAMS', stream, '>') end
for _, member in ipairs(members) do stay(unpack(member)) end
return {taken, #members}
