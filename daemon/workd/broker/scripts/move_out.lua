-- Remove jobs from this queue that are in another one by now.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 group  2 mover  3 lease in ms  4.. entry ids
--
-- Returns how many were removed. The others are a daemon's by now: they run here too.
--
-- Invariant: nothing is done without the mover's lease, and only to what is pending for it. The claims of these jobs are
-- left: a claim whose entry is not in the stream any more belongs to nobody.

local stream, leases, group, me = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if not redis.call('HGET', leases, me) then return 0 end
local time = redis.call('TIME')
redis.call('HSET', leases, me, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]))

local removed = 0
for i = 4, #ARGV do
  if redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1, me)[1] then
    redis.call('XACK', stream, group, ARGV[i])
    redis.call('XDEL', stream, ARGV[i])
    removed = removed + 1
  end
end
return removed
