-- Add messages to one stream, once, however often the same call is sent.
--
-- KEYS  1      the queue's stream
--       2      optional: the marker of the place that the call comes from; no two calls share a place at a time
-- ARGV  1      the number of the call, higher than that of any earlier one from the same place
--       2      milliseconds that the marker is kept
--       3..n   the messages, as bytes; or the word `s` (no message is), then each message followed by its signature
--
-- The marker is a string: the number of the last call from there that was done, and the entry ids of what it added.
--
-- Returns the entry ids, one for each message, in their order; of a call that was done already, those that it got
-- then. The error STALE answers a call that was overtaken by a later one of its place: its sender has given it up.
--
-- Invariant: all or none, and at most once while the marker lives. A stream of the wrong type or a full memory refuses
-- the first XADD, before anything was written; nothing that can fail comes after it: if the marker cannot be written,
-- the messages are queued all the same, and this one call could be done twice.

local stream, marker, number = KEYS[1], KEYS[2], ARGV[1]
if marker then
  local done = redis.call('GET', marker)
  if done then
    local last = tonumber(string.match(done, '^%d+')) or 0
    if last > tonumber(number) then
      return redis.error_reply('STALE a later call from this place was done')
    end
    if last == tonumber(number) then
      -- A write, so that whoever asks next whether all writes are safe is told of those of the first time, too.
      redis.call('PEXPIRE', marker, ARGV[2])
      local known = {}
      for id in string.gmatch(done, '%d+%-%d+') do
        known[#known + 1] = id
      end
      return known
    end
  end
end

local ids = {}
if ARGV[3] == 's' then
  for i = 4, #ARGV, 2 do
    ids[#ids + 1] = redis.call('XADD', stream, '*', 'm', ARGV[i], 's', ARGV[i + 1])
  end
else
  for i = 3, #ARGV do
    ids[i - 2] = redis.call('XADD', stream, '*', 'm', ARGV[i])
  end
end
if marker then
  redis.pcall('SET', marker, number .. ' ' .. table.concat(ids, ' '), 'PX', ARGV[2])
end
return ids
