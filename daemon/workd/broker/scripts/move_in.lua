-- Put jobs of another queue into this one, each once.
--
-- KEYS  1 stream
-- ARGV  1 prefix of the marks  2 ms that a mark is kept
--       3.. per job: its entry in the other queue, how many words follow, field, value, ...
--
-- Returns how many were added; the others had been added before.
--
-- Invariant: a mark names the other queue and the entry there, so the same job is not added again by a move that is
-- repeated. It is written in the script that adds the job.

local stream, prefix, kept_ms = KEYS[1], ARGV[1], ARGV[2]
local added, i = 0, 3
while i <= #ARGV do
  local mark, words = prefix .. ARGV[i], tonumber(ARGV[i + 1])
  if redis.call('EXISTS', mark) == 0 then
    local entry = redis.call('XADD', stream, '*', unpack(ARGV, i + 2, i + 1 + words))
    redis.call('SET', mark, entry, 'PX', kept_ms)
    added = added + 1
  end
  i = i + 2 + words
end
return added
