#!lua flags=allow-oom
-- Make the consumer group again, after a read said that it or its stream is gone.
--
-- KEYS  1 stream
-- ARGV  1 group
--
-- Returns 1 if it made it, 0 if it was there.
--
-- Invariant: the group begins at id 0, never at the end: what came meanwhile is served.

local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err then
  if string.find(tostring(made.err), 'BUSYGROUP', 1, true) then return 0 end
  return made
end
return 1
