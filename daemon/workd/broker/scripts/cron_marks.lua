-- Say when each line of the schedule has last fired; one that is seen for the first time begins now.
--
-- KEYS  1 leases  2 marks (hash: name of the line -> epoch s of its last fire time, space, word for its fire times)
-- ARGV  1 daemon  2.. per line: name, word for its fire times ('' = it is switched off)
--
-- Returns {1} when fenced, else {0, epoch s per line (0 = switched off), ...}
--
-- Invariant: a line that is new, was switched off, or whose fire times are others than before has missed nothing: its mark
-- becomes the present. So does one that is far ahead: the server's clock was wrong. A mark of another type is an error before anything was written.

local leases, marks, me = KEYS[1], KEYS[2], ARGV[1]
if not redis.call('HGET', leases, me) then return {1} end

local now_s = redis.call('TIME')[1]
local AHEAD_S = 60
local answer = {0}
for i = 2, #ARGV, 2 do
  local name, word = ARGV[i], ARGV[i + 1]
  local mark = redis.call('HGET', marks, name) or ''
  if word == '' then
    redis.call('HDEL', marks, name)
    answer[#answer + 1] = 0
  else
    local last_s, told = string.match(mark, '^(%d+) (%S+)$')
    if told ~= word or tonumber(last_s) > now_s + AHEAD_S then
      last_s = now_s
      redis.call('HSET', marks, name, now_s .. ' ' .. word)
    end
    answer[#answer + 1] = tonumber(last_s)
  end
end
return answer
