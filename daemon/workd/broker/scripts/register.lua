#!lua flags=allow-oom
-- Make the queue ready for a daemon and take out its lease, before its first read.
--
-- KEYS  1 stream  2 leases  3 scheduled  4 dead  5 inbox
-- ARGV  1 group  2 daemon  3 lease in ms
--
-- Returns 1 if its lease was still there (what it has in flight is still its own), else 0.
--
-- Invariant: the group begins at id 0, so that entries older than it are served; one that exists stays as it is. A key
-- of another type in one of our places is an error `WRONGKEY <type wanted> <key>`, before anything was written. A user
-- who may not remove entries is refused here: the end of a job is the wrong moment to find out, when its outcome has been
-- recorded and its entry would stay.

local WANTED = {'stream', 'hash', 'zset', 'stream', 'list'}
for i = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= WANTED[i] then
    return redis.error_reply('WRONGKEY ' .. WANTED[i] .. ' ' .. KEYS[i])
  end
end

local group = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(group) == 'table' and group.err and not string.find(tostring(group.err), 'BUSYGROUP', 1, true) then return group end

redis.call('XACK', KEYS[1], ARGV[1], '0-0')
redis.call('XDEL', KEYS[1], '0-0')

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return 1 - redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f', now_ms + ARGV[3]))
