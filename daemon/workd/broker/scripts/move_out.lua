-- Remove jobs from this queue that are in another one by now.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 group  2 mover  3 lease in ms  4 prefix of the queue's keys  5 ms that a claim is kept while its job is on its way
--       6.. entry ids
--
-- Returns how many were removed. The others are a daemon's by now: they run here too.
--
-- Invariant: nothing is done without the mover's lease, and only to what is pending for it. With a job go the claims that its
-- message makes, or they would be kept for weeks. Others are left: a claim whose entry is not in the stream any more belongs to nobody, and one
-- that says `scheduled` is void.

local stream, leases, group, me = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if not redis.call('HGET', leases, me) then return 0 end
local time = redis.call('TIME')
redis.call('HSET', leases, me, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]))

local function told_by(message)
  local fine, told = pcall(cjson.decode, message)
  return fine and type(told) == 'table' and told or {}
end

-- A chain is where its step is: what is said of it here (see settle.lua) would be wrong.
local function forget_chain(chain)
  if type(chain) ~= 'table' or type(chain.id) ~= 'string' then return end
  local seen = ARGV[4] .. 'seen:' .. (type(chain.queue) == 'string' and chain.queue .. ':' or '') .. chain.id
  local place = redis.pcall('GET', seen)
  if type(place) == 'string' and string.find(place, '^chain %d+ %S+ = ') then redis.call('DEL', seen) end
end

local function release(entry)
  local row = redis.call('XRANGE', stream, entry, entry)[1]
  local fields = {}
  for i = 1, row and #row[2] or 0, 2 do fields[row[2][i]] = row[2][i + 1] end
  if fields.id and fields.n then redis.pcall('SET', ARGV[4] .. 'void:' .. fields.id, '1', 'PX', ARGV[5], 'GET') end
  local told = told_by(fields.m or '')
  local job = fields.id or type(told.id) == 'string' and told.id
  local seen = job and ARGV[4] .. 'seen:' .. job
  if seen and redis.pcall('GET', seen) == entry then redis.call('DEL', seen) end
  forget_chain(told.chain)
  local unique = job and type(told.unique) == 'string' and ARGV[4] .. 'unique:' .. told.unique
  if unique and redis.pcall('GET', unique) == entry .. ' ' .. job then redis.call('DEL', unique) end
end

local removed = 0
for i = 6, #ARGV do
  if redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1, me)[1] then
    release(ARGV[i])
    redis.call('XACK', stream, group, ARGV[i])
    redis.call('XDEL', stream, ARGV[i])
    removed = removed + 1
  end
end
return removed
