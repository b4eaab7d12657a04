#!lua flags=allow-oom
-- Answer somebody who has asked all daemons something.
--
-- KEYS  1 the stream of answers
-- ARGV  1 field  2 answer  3 ms to keep the stream from now on  4 how many answers it may have
--
-- Returns 1; 0 if there are too many answers already.
--
-- Invariant: the stream always has a TTL, and never more than so many entries, whoever has asked for them.

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
