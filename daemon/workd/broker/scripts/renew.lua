#!lua flags=allow-oom
-- Extend a daemon's lease on a queue, and look whether somebody cancelled one of its jobs.
--
-- KEYS  1 leases
-- ARGV  1 daemon  2 lease in ms  3 prefix of the `cancel:` keys  4.. ids of the jobs in flight
--
-- Returns {1} when fenced, else {0, cancelled id, ...}
--
-- Invariant: a lease that is gone stays gone. Only `register` takes out a new one.

if not redis.call('HGET', KEYS[1], ARGV[1]) then return {1} end
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', until_ms))

local FIRST_JOB, CHUNK = 4, 500
local answer = {0}
for first = FIRST_JOB, #ARGV, CHUNK do
  local names = {}
  for i = first, math.min(first + CHUNK - 1, #ARGV) do names[#names + 1] = ARGV[3] .. ARGV[i] end
  if redis.call('EXISTS', unpack(names)) > 0 then
    for i = 1, #names do
      if redis.call('EXISTS', names[i]) == 1 then answer[#answer + 1] = ARGV[first + i - 1] end
    end
  end
end
return answer
