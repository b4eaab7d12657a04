-- Enqueue the jobs of fire times that have come, each once, whoever is first.
--
-- KEYS  1 stream  2 leases  3 marks (see cron_marks.lua)
-- ARGV  1 daemon  2.. per fire time: name of the line, epoch s, word for its fire times, message, its signature or ''
--
-- Returns {1} when fenced, else {0, server ms, per fire time: 1 enqueued, 0 had been before, 2 is yet to come, or an error}
--
-- Invariant: a mark only goes forward, and is written in the script that enqueues: of all daemons one enqueues a fire time,
-- also if a clock is wrong or one comes late. A mark that is far ahead of the server's clock was made while that was wrong, and
-- counts for nothing: or its line would be silent until then. What Redis refuses leaves the mark, so it is tried again. Without a first line
-- of flags: a full memory refuses these messages as any producer's, and the rest of the daemon goes on.

local stream, leases, marks, me = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
if not redis.call('HGET', leases, me) then return {1} end

local time = redis.call('TIME')
local answer = {0, time[1] * 1000 + math.floor(time[2] / 1000)}

local AHEAD_S = 60

local function fire(name, at_s, word, message, signature)
  if tonumber(at_s) > tonumber(time[1]) then return 2 end
  local mark = redis.pcall('HGET', marks, name)
  if type(mark) == 'table' then return marks .. ': ' .. tostring(mark.err) end
  local last_s = mark and tonumber(string.match(mark, '^%d+')) or 0
  if last_s >= tonumber(at_s) and last_s <= time[1] + AHEAD_S then return 0 end
  local command = {'XADD', stream, '*', 'm', message}
  if signature ~= '' then command[6], command[7] = 's', signature end
  local entry = redis.pcall(unpack(command))
  if type(entry) == 'table' then return stream .. ': ' .. tostring(entry.err) end
  redis.call('HSET', marks, name, at_s .. ' ' .. word)
  return 1
end

for i = 2, #ARGV, 5 do answer[#answer + 1] = fire(unpack(ARGV, i, i + 4)) end
return answer
