#!lua flags=allow-oom
-- Say which of these entries are not this daemon's any more.
--
-- KEYS  1 stream
-- ARGV  1 group  2 daemon  3.. entry ids
--
-- Returns the ids that are not pending for this daemon: another one has them, or has ended them, or somebody removed
-- them. Nothing that comes of running them can be recorded.

local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local taken = {}
for i = 3, #ARGV do
  local pending = redis.pcall('XPENDING', stream, group, ARGV[i], ARGV[i], 1, me)
  if pending.err or not pending[1] then taken[#taken + 1] = ARGV[i] end
end
return taken
