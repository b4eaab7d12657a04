-- Take scheduled jobs to another queue: hold them back first, remove them when they are there.
--
-- KEYS  1 scheduled
-- ARGV  1 'hold'  2 ms to hold back  3 most jobs  4 most bytes  5 how many of the first to pass over
--    or 1 'remove'  2 prefix of the queue's keys  3 ms that a claim is kept while its job is on its way  4.. members
--
-- Returns of 'hold' {how many stay, member, score, member, score, ...} with the scores of before; of 'remove' how many it
--   removed. What stays are members of a group, whom nobody would count elsewhere: they are as they were.
--
-- Invariant: what is held back is not due before that time is over, so no daemon starts it meanwhile; if the move ends in the
-- middle, it is late by as much at the most, and not lost. With a job go its claims, or its id would stay taken here; one that
-- its task made and that only daemons know is void.

local scheduled = KEYS[1]

local function is_of_a_group(member)
  if not string.find(member, '"group"', 1, true) then return false end
  local _, last, id_bytes, signature_bytes = string.find(member, '^(%d+):(%d+):[%d ]+:%d+:')
  local fine, told = pcall(cjson.decode, string.sub(member, last and last + id_bytes + signature_bytes + 1 or 1))
  return fine and type(told) == 'table' and type(told.group) == 'table'
end

local function hold()
  local time = redis.call('TIME')
  local held_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
  local bytes_left, answer = tonumber(ARGV[4]), {0}
  local rows = redis.call('ZRANGE', scheduled, ARGV[5], ARGV[5] + ARGV[3] - 1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    if i > 1 and bytes_left < #rows[i] then break end
    bytes_left = bytes_left - #rows[i]
    if is_of_a_group(rows[i]) then
      answer[1] = answer[1] + 1
    else
      if tonumber(rows[i + 1]) < held_ms then
        redis.call('ZADD', scheduled, 'XX', string.format('%.0f', held_ms), rows[i])
      end
      answer[#answer + 1] = rows[i]
      answer[#answer + 1] = rows[i + 1]
    end
  end
  return answer
end

local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
end

local function void(job, score)
  local time = redis.call('TIME')
  local ms = math.max(0, tonumber(score) - time[1] * 1000) + ARGV[3]
  if ms < 1e15 then redis.pcall('SET', ARGV[2] .. 'void:' .. job, '1', 'PX', string.format('%.0f', ms), 'GET') end
end

-- A chain is where its step is: what is said of it here (see settle.lua) would be wrong.
local function forget_chain(chain)
  if type(chain) ~= 'table' or type(chain.id) ~= 'string' then return end
  local seen = ARGV[2] .. 'seen:' .. (type(chain.queue) == 'string' and chain.queue .. ':' or '') .. chain.id
  if string.find(get(seen) or '', '^chain %d+ %S+ = ') then redis.call('DEL', seen) end
end

local function release(member, score)
  local _, last, id_bytes, signature_bytes = string.find(member, '^(%d+):(%d+):[%d ]+:%d+:')
  if not last then return end
  local job = string.sub(member, last + 1, last + id_bytes)
  local seen = ARGV[2] .. 'seen:' .. job
  if get(seen) == 'scheduled' then redis.call('DEL', seen) end
  local message = string.sub(member, last + id_bytes + signature_bytes + 1)
  local fine, told = pcall(cjson.decode, message)
  if not fine or type(told) ~= 'table' then told = {} end
  forget_chain(told.chain)
  local unique = told.unique
  if type(unique) ~= 'string' then
    void(job, score)
  elseif get(ARGV[2] .. 'unique:' .. unique) == 'scheduled ' .. job then
    redis.call('DEL', ARGV[2] .. 'unique:' .. unique)
  end
end

if ARGV[1] == 'hold' then return hold() end
local removed = 0
for i = 4, #ARGV do
  local score = redis.call('ZSCORE', scheduled, ARGV[i])
  if score then
    redis.call('ZREM', scheduled, ARGV[i])
    release(ARGV[i], score)
    removed = removed + 1
  end
end
return removed
