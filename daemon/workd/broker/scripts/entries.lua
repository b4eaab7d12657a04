-- Read pending entries again, without counting that as a delivery.
--
-- KEYS  1 stream
-- ARGV  1 group  2.. entry ids
--
-- Returns {{entry id, fields}, ...}
--
-- Invariant: what a person removed from the stream (XDEL, XTRIM) cannot be run and does not stay pending for ever.

local found = {}
for i = 2, #ARGV do
  local row = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if row then
    found[#found + 1] = row
  else
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  end
end
return found
