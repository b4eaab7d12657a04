#!lua flags=allow-oom
-- Let a drained daemon leave a queue for good, and forget others that are no more.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 group  2 daemon
--
-- Returns 1 if it left, 0 if it still has pending jobs: then its lease stays and a takeover finds them.
--
-- Invariant: a consumer is deleted only if this script saw it without a lease and with nothing pending: DELCONSUMER drops
-- pending jobs without a word.

local stream, leases, group, me = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
if consumers.err then  -- no stream or no group, so nothing is pending
  redis.call('HDEL', leases, me)
  return 1
end
for _, consumer in ipairs(consumers) do
  if value_of(consumer, 'name') == me and value_of(consumer, 'pending') > 0 then return 0 end
end
redis.call('HDEL', leases, me)
for _, consumer in ipairs(consumers) do
  local name = value_of(consumer, 'name')
  if value_of(consumer, 'pending') == 0 and not redis.call('HGET', leases, name) then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
  end
end
return 1
