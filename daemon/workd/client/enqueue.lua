-- Add many messages to one stream.
--
-- KEYS  1      the queue's stream
-- ARGV  1..n   the messages, as bytes
--
-- Returns the entry ids, one for each message, in their order.
--
-- Invariant: all or none. A stream of the wrong type or a full memory refuses the first XADD, before anything was
-- written; nothing that can fail comes after it.

local ids = {}
for i = 1, #ARGV do
  ids[i] = redis.call('XADD', KEYS[1], '*', 'm', ARGV[i])
end
return ids
