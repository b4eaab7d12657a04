#!lua flags=allow-oom
-- Show how far running jobs are.
--
-- KEYS  1 leases
-- ARGV  1 daemon  2 prefix of the `progress:` keys  3 ms to keep each  4.. job id, text, job id, text, ...
--
-- Returns -1 when fenced, else how many could not be written.
--
-- Invariant: only who has the lease says how far a job is. Nothing but these keys is touched, and no key of another type.

if not redis.call('HGET', KEYS[1], ARGV[1]) then return -1 end
local failed = 0
for i = 4, #ARGV, 2 do
  local reply = redis.pcall('SET', ARGV[2] .. ARGV[i], ARGV[i + 1], 'PX', ARGV[3], 'GET')
  if type(reply) == 'table' and reply.err then failed = failed + 1 end
end
return failed
