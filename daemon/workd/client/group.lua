-- Add members to a group: the first call makes its record, the last one seals it. Once, however often a call is sent.
--
-- KEYS  1 stream  2 the group's record  3 groups  4 marker of the last call
-- ARGV  1 group  2 index of the first of these members  3 '1': these are the last ones  4 ms until the deadline
--       5 ms that the record outlives it  6 ms that the marker is kept  7 number of words of the record
--       8 whose group this is: a random word, the same in all its calls
--       9.. field, value, … of the record, then the members' messages; or, where these begin with the word `s`, after it
--         each message followed by its signature
--
-- Returns the entry ids of the members. The error GROUPTAKEN says that there is such a group already, GROUPENDED that it
-- has ended, or never began.
--
-- Invariant: there is a record, with a deadline, before there is a member, so a producer that dies leaves a group that
-- ends. All or none: what can be of the wrong type is looked at before anything is written. A call that was carried
-- out, and whose answer was lost, finds its marker and is given the same answer.

local stream, record, groups, marker = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, first, last = ARGV[1], ARGV[2], ARGV[3]
local whose = ARGV[8]
local FIRST_WORD = 9
local words = tonumber(ARGV[7])

local kinds = {[stream] = 'stream', [record] = 'hash', [groups] = 'zset', [marker] = 'string'}
for key, wanted in pairs(kinds) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is not a ' .. wanted .. ': somebody else wrote it')
  end
end

local done = redis.call('GET', marker)
if done and string.match(done, '^%w+ %d+') == whose .. ' ' .. first then
  local known = {}
  for entry in string.gmatch(done, '%d+%-%d+') do known[#known + 1] = entry end
  return known
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if first == '0' then
  if redis.call('EXISTS', record) == 1 then
    return redis.error_reply('GROUPTAKEN there is a group of that id')
  end
  local deadline_ms = string.format('%.0f', now_ms + ARGV[4])
  local keep_ms = ARGV[4] + ARGV[5]
  redis.call('HSET', record, 'created', string.format('%.0f', now_ms), 'deadline', deadline_ms, 'added', '0',
    'succeeded', '0', 'failed', '0', unpack(ARGV, FIRST_WORD, FIRST_WORD + words - 1))
  redis.call('PEXPIRE', record, string.format('%.0f', keep_ms))
  redis.call('SETBIT', record .. ':members', 0, 0)
  redis.call('PEXPIRE', record .. ':members', string.format('%.0f', keep_ms))
  redis.call('ZADD', groups, deadline_ms, id)
  local cancel = string.sub(record, 1, -(#id + 7)) .. 'cancel:' .. id  -- of an earlier group: the wish was for that one
  if type(redis.pcall('GET', cancel)) == 'string' then redis.call('DEL', cancel) end
  if redis.call('PTTL', groups) < keep_ms then redis.call('PEXPIRE', groups, string.format('%.0f', keep_ms)) end
else
  local known = redis.call('HMGET', record, 'added', 'ended')
  if known[1] ~= first or known[2] then
    return redis.error_reply('GROUPENDED it is over, or this is not its next call')
  end
end

local entries, first_message = {}, FIRST_WORD + words
if ARGV[first_message] == 's' then
  for i = first_message + 1, #ARGV, 2 do
    entries[#entries + 1] = redis.call('XADD', stream, '*', 'm', ARGV[i], 's', ARGV[i + 1])
  end
else
  for i = first_message, #ARGV do
    entries[#entries + 1] = redis.call('XADD', stream, '*', 'm', ARGV[i])
  end
end
redis.call('HINCRBY', record, 'added', #entries)
if last == '1' then redis.call('HSET', record, 'sealed', '1') end
redis.call('SET', marker, whose .. ' ' .. first .. ' ' .. table.concat(entries, ' '), 'PX', ARGV[6])
return entries
