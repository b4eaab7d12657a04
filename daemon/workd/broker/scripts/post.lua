#!lua flags=allow-oom
-- Bring into this queue what the end of a chain's step in another queue means here: the next step, or the chain's end.
--
-- KEYS  1 stream
-- ARGV  1 prefix of the queue's keys  2 ms that a claim is kept while its job is on its way  3 id
--       4 the next step's message, or ''  5 the chain's outcome, or ''  6 ms to keep the outcome  7 reply_to
--       8 the chain's name in this queue  9 ms that `seen` is kept after the outcome
--       10 the next step's number  11 '> queue': the next step is there, and nothing is enqueued here; 'cancel': the chain
--       is to be cancelled where it is, and nothing else is brought; else ''
--       12 the message's signature, or ''  13 whose end it is that ends the chain: queue and entry of its last step
--
-- Returns '' when it is done, else what is in its way; of 'cancel' '> queue' where it has gone on to there.
--
-- Invariant: twice is as good as once. A step is claimed under its id, which its place in the chain gives, in the script
-- that enqueues it; a claim that is there means that it was enqueued before. An outcome is told once for each entry of the
-- last step: `posted:<chain>` says which. No lease is looked up, since the caller's is another queue's, in another slot: it
-- has asked there before, and settles there afterwards. Of a key of another type nothing is overwritten.

local stream, prefix, claim_ms, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local message, outcome, ttl_ms, reply_to, chain, seen_ms = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local index, course = ARGV[10], ARGV[11]
local whole = prefix .. 'seen:' .. chain  -- where the chain is, see settle.lua

local function problem(key, reply)
  if type(reply) == 'table' and reply.err then return key .. ': ' .. tostring(reply.err) end
end

local said = redis.pcall('GET', whole)
local known = type(said) == 'string' and tonumber(string.match(said, '^chain (%d+) '))
local function say(where)
  if known and known >= tonumber(index) then return end
  redis.pcall('SET', whole, 'chain ' .. index .. ' ' .. where, 'PX', claim_ms, 'GET')
end

if course == 'cancel' then
  if said == 'done' then return '' end
  local wish = prefix .. 'cancel:' .. chain
  local wrong = problem(wish, redis.pcall('SET', wish, '1', 'PX', claim_ms, 'GET'))
  return wrong or type(said) == 'string' and string.match(said, '^chain %d+ %S+ (> .*)$') or ''
end

if course ~= '' then
  if said ~= 'done' then say('- ' .. course) end
  return ''
end

if message ~= '' then
  local seen = prefix .. 'seen:' .. id
  local place = redis.pcall('GET', seen)
  if type(place) == 'table' then return problem(seen, place) end
  if place then return '' end
  local command = {'XADD', stream, '*', 'm', message}
  if ARGV[12] ~= '' then command[6], command[7] = 's', ARGV[12] end
  local entry = redis.pcall(unpack(command))
  if type(entry) == 'table' then return problem(stream, entry) end
  redis.call('SET', seen, entry, 'PX', claim_ms)
  say(entry .. ' = ' .. id)
  return ''
end

local posted = prefix .. 'posted:' .. chain
if ARGV[13] ~= '' and redis.pcall('GET', posted) == ARGV[13] then return '' end
if ttl_ms ~= '0' then
  local result = prefix .. 'result:' .. id
  local wrong = problem(result, redis.pcall('SET', result, outcome, 'PX', ttl_ms, 'GET'))
  if wrong then return wrong end
end
if reply_to ~= '' then redis.pcall('XADD', prefix .. 'reply:' .. reply_to, 'NOMKSTREAM', '*', 'm', outcome) end
if ARGV[13] ~= '' then redis.pcall('SET', posted, ARGV[13], 'PX', seen_ms, 'GET') end
local cancel = prefix .. 'cancel:' .. chain
redis.pcall('SET', whole, 'done', 'PX', seen_ms, 'GET')
if type(redis.pcall('GET', cancel)) == 'string' then redis.call('DEL', cancel) end
return ''
