#!lua flags=allow-oom
-- Move messages that were pushed to the inbox into the stream, in their order.
--
-- KEYS  1 inbox  2 stream
-- ARGV  1 most messages to move  2 most bytes to move (one message is always moved)
--
-- Returns how many it moved.
--
-- Invariant: a message is in the stream before it leaves the inbox, and in one script: nobody sees it twice or not at all.

local inbox, stream = KEYS[1], KEYS[2]
local left, bytes_left = tonumber(ARGV[1]), tonumber(ARGV[2])
local SLICE = 16
local moved = 0

while left > 0 and bytes_left > 0 do
  local messages = redis.call('LRANGE', inbox, 0, math.min(SLICE, left) - 1)
  if #messages == 0 then break end
  local added, refused = 0, nil
  for _, message in ipairs(messages) do
    if bytes_left <= 0 then break end
    local reply = redis.pcall('XADD', stream, '*', 'm', message)
    if type(reply) == 'table' and reply.err then
      refused = reply
      break
    end
    added = added + 1
    bytes_left = bytes_left - #message
  end
  if added > 0 then redis.call('LTRIM', inbox, added, -1) end
  if refused then return refused end
  moved = moved + added
  left = left - added
end
return moved
