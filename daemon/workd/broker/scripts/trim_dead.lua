#!lua flags=allow-oom
-- Trim the dead letters of a queue to what people want to keep.
--
-- KEYS  1 dead  2 count of all that were ever trimmed
-- ARGV  1 most bytes of memory  2 greatest age in ms
--
-- Returns how many were trimmed.
--
-- Invariant: the oldest go first, and every one that goes is counted. The size is Redis' own estimate (MEMORY USAGE); on a
-- server without that command only the age counts. A count of another type is somebody else's and stays as it is.

local dead, most_bytes, most_ms = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local oldest_ms = time[1] * 1000 + math.floor(time[2] / 1000) - most_ms

local trimmed = 0
if oldest_ms > 0 then trimmed = redis.call('XTRIM', dead, 'MINID', string.format('%.0f', oldest_ms)) end

local bytes = redis.pcall('MEMORY', 'USAGE', dead, 'SAMPLES', '50')
if type(bytes) == 'number' and bytes > most_bytes then
  local keep = math.floor(redis.call('XLEN', dead) * most_bytes / bytes)
  trimmed = trimmed + redis.call('XTRIM', dead, 'MAXLEN', keep)
end
if trimmed > 0 then redis.pcall('INCRBY', KEYS[2], trimmed) end
return trimmed
