#!lua flags=allow-oom
-- Record what became of a batch of jobs and remove them from the stream.
--
-- KEYS  1 stream  2 leases  3 scheduled  4 dead
-- ARGV  1 group  2 daemon  3 prefix of the queue's keys
--       4 ms that `seen` is kept after the outcome  5 ms that a claim is kept while its job is on its way
--       6 MAXLEN of the dead letters ('' = none)
--       7 number of jobs  8 lowest and 9 highest entry id of the batch (a hint: a wrong one costs time, not truth)
--       10.. per job a letter and its arguments; '' means "none", a flag is '1' or '':
--         x entry                                                                 ended, nothing to keep
--         r entry job outcome ttl_ms                                              ended, a result to keep
--         f entry job outcome ttl_ms reply_to has_id unique duplicate             ended
--         d entry job outcome ttl_ms reply_to has_id unique
--           message fields reason error task attempts deliveries signature        dead
--         a entry job message n t signature due_ms has_id unique                  back to the stream, or scheduled
--       before f or d, for a job of a group or a chain:
--         k entry result_id group index how head body next chain course signature see groups.lua; next: a message, and
--           its signature; chain: its name in this queue; course: the number of the next step, and where that is: '= step' here,
--           '> queue' elsewhere, '<' elsewhere and this is not where the chain began; '' at its end
-- Returns {1} when fenced, else {0, skipped, lost replies, score of the next scheduled job or '',
--   entry, error, entry, error, ...}
--
-- Invariant: nothing is done without our lease. A job that is not pending for us is skipped, so a batch may be sent
-- twice. Nothing is rolled back in a script, so every write may fail without harm: those that can be repeated come
-- first (the result), the one that cannot (dead letter, re-added entry) after them, then what may be lost (reply),
-- and last, for the jobs whose writes all went well, XACK and XDEL. No key of another type is overwritten.
-- While a chain goes on, `seen:<chain>` says where it is (`chain 1 <entry> = <step>`, `chain 1 - > <queue>`), so that it can be
-- cancelled by its id, and so that its id stays taken; with its end goes the wish that it be cancelled, or a later job of the
-- same id would be cancelled for it.

local stream, leases, scheduled, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, me, prefix = ARGV[1], ARGV[2], ARGV[3]
local seen_ms, claim_ms, dead_maxlen = ARGV[4], ARGV[5], ARGV[6]
local FIRST_JOB = 10
local ACK_CHUNK = 1000

if not redis.call('HGET', leases, me) then return {1} end

-- One look at our pending entries around the batch answers for nearly all of it; ids it missed are asked one by one.
local held = {}
local pending = redis.pcall('XPENDING', stream, group, ARGV[8], ARGV[9], ARGV[7] * 2 + 64, me)
if pending.err then
  if string.find(tostring(pending.err), 'NOGROUP', 1, true) then return {0, tonumber(ARGV[7]), 0, ''} end
  return pending
end
for i = 1, #pending do held[pending[i][1]] = true end

local function is_held(entry)
  if held[entry] == nil then
    held[entry] = redis.call('XPENDING', stream, group, entry, entry, 1, me)[1] ~= nil
  end
  return held[entry]
end

local lost_replies = 0
local scheduled_any = false

local function problem(key, reply)
  if type(reply) == 'table' and reply.err then return key .. ': ' .. tostring(reply.err) end
end

local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
end

-- SET with GET refuses a key that is not a string, in the same command.
local function keep(job, outcome, ttl_ms)
  local key = prefix .. 'result:' .. job
  return problem(key, redis.pcall('SET', key, outcome, 'PX', ttl_ms, 'GET'))
end

local function answer(name, outcome)
  if name == '' or outcome == '' then return end
  local reply = redis.pcall('XADD', prefix .. 'reply:' .. name, 'NOMKSTREAM', '*', 'm', outcome)
  if type(reply) == 'table' and reply.err then lost_replies = lost_replies + 1 end
end

local function holds_unique(key, job)
  local value = get(key)
  local space = value and string.find(value, ' ', 1, true)
  return space and string.sub(value, space + 1) == job
end

-- Point our claim of the id to `place`. False if another job holds the id: then nothing under that id is ours, since two
-- messages with one id have one job id, too.
local function move_seen(entry, job, has_id, place, ttl_ms)
  if has_id == '' then return true end
  local key = prefix .. 'seen:' .. job
  local holder = get(key)
  if holder == entry then redis.pcall('SET', key, place, 'PX', ttl_ms) end
  return holder == nil or holder == entry
end

local function release(entry, job, has_id, unique)
  if not move_seen(entry, job, has_id, 'done', seen_ms) then return end
  if unique ~= '' then
    local key = prefix .. 'unique:' .. unique
    if holds_unique(key, job) then redis.pcall('DEL', key) end
  end
end

local function move_claims(entry, job, has_id, unique, place, ttl_ms)
  if not move_seen(entry, job, has_id, place, ttl_ms) then return end
  if unique ~= '' then
    local key = prefix .. 'unique:' .. unique
    if holds_unique(key, job) then redis.pcall('SET', key, place .. ' ' .. job, 'PX', ttl_ms) end
    -- A job with this id may have been taken out of `scheduled` before; this one is there.
    if place == 'scheduled' then redis.pcall('DEL', prefix .. 'void:' .. job) end
  end
end

local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function bury(i)
  local command = {'XADD', dead}
  local function add(...)
    for _, word in ipairs({...}) do command[#command + 1] = word end
  end
  if dead_maxlen ~= '' then add('MAXLEN', '~', dead_maxlen) end
  local time = redis.call('TIME')
  add('*', 'm', ARGV[i + 8], 'reason', ARGV[i + 10], 'error', ARGV[i + 11], 'id', ARGV[i + 2],
    'task', ARGV[i + 12], 'attempts', ARGV[i + 13], 'deliveries', ARGV[i + 14],
    'at', time[1] .. '.' .. string.format('%06d', time[2]))
  if ARGV[i + 9] ~= '' then add('entry', ARGV[i + 9]) end
  if ARGV[i + 15] ~= '' then add('s', ARGV[i + 15]) end
  return problem(dead, redis.pcall(unpack(command)))
end

local function readd(i)
  local entry, job, message, n, t, signature = unpack(ARGV, i + 1, i + 6)
  local due_ms, has_id, unique = ARGV[i + 7], ARGV[i + 8], ARGV[i + 9]
  local place, ttl_ms = 'scheduled', claim_ms
  local reply
  if due_ms ~= '' then
    local member = #job .. ':' .. #signature .. ':' .. n .. ':' .. t .. ':' .. job .. signature .. message
    reply = redis.pcall('ZADD', scheduled, due_ms, member)
    if problem(scheduled, reply) then return problem(scheduled, reply) end
    scheduled_any = true
    ttl_ms = string.format('%.0f', math.max(0, due_ms - server_ms()) + claim_ms)
  elseif signature ~= '' then
    reply = redis.pcall('XADD', stream, '*', 'm', message, 'id', job, 'n', n, 't', t, 's', signature)
  else
    reply = redis.pcall('XADD', stream, '*', 'm', message, 'id', job, 'n', n, 't', t)
  end
  if problem(stream, reply) then return problem(stream, reply) end
  if due_ms == '' then place = reply end
  move_claims(entry, job, has_id, unique, place, ttl_ms)
end

-- What the end of a job means for its kin: its group counts it, and the next step of its chain is enqueued. The second
-- cannot be repeated, so it is the last that can fail; a dead letter has no next step.
local function tell_kin(k)
  local id, index, how, head, body, following = unpack(ARGV, k + 3, k + 8)
  local wrong = id ~= '' and count_member(prefix, id, index, how, head, body)
  local entry = '-'
  if not wrong and following ~= '' then
    local command, signature = {'XADD', stream, '*', 'm', following}, ARGV[k + 11]
    if signature ~= '' then command[6], command[7] = 's', signature end
    entry = redis.pcall(unpack(command))
    wrong = problem(stream, entry)
  end
  return wrong, entry
end

local function remove_text(key)
  if get(key) then redis.call('DEL', key) end
end

-- Say where a chain is now; `place` is what was said before this job ended. One that has gone on in another queue may be
-- farther than this script knows, and even at its end: what its later steps have said stays.
local function note_course(k, entry, job, next_entry, place)
  local chain, course = ARGV[k + 9], ARGV[k + 10]
  if chain == '' then return end
  local seen = prefix .. 'seen:' .. chain
  local index, where, at = string.match(course, '^(%d+) ([=><])(.*)$')
  local known = tonumber(string.match(place or '', '^chain (%d+) '))
  local is_news = known and index and known < tonumber(index)
  if not index then
    if known then redis.call('SET', seen, 'done', 'PX', seen_ms) end
    remove_text(prefix .. 'cancel:' .. chain)
    remove_text(prefix .. 'cancel:' .. job)
  elseif where == '=' or (where == '>' and (is_news or not place or place == entry)) then
    redis.pcall('SET', seen, 'chain ' .. index .. ' ' .. next_entry .. ' ' .. where .. at, 'PX', claim_ms, 'GET')
  elseif where == '<' and is_news then
    redis.call('DEL', seen)
  end
end

-- A step whose id another job has, and that its chain has come to all the same: nobody else will tell the chain's end.
local function is_where_its_chain_is(entry, place)
  return string.match(place or '', '^chain %d+ (%S+) ') == entry
end

local function finish(i, entry, k)
  local job, outcome, ttl_ms, reply_to, has_id, unique = unpack(ARGV, i + 2, i + 7)
  local place = k and ARGV[k + 9] ~= '' and get(prefix .. 'seen:' .. ARGV[k + 9]) or nil
  local ours = ARGV[i] == 'd' or ARGV[i + 8] == '' or has_id == '' or get(prefix .. 'seen:' .. job) == entry
    or is_where_its_chain_is(entry, place)
  local next_entry
  local wrong = ours and ttl_ms ~= '0' and keep(k and ARGV[k + 2] or job, outcome, ttl_ms)
  if not wrong and k and ours then wrong, next_entry = tell_kin(k) end
  if not wrong and ARGV[i] == 'd' then wrong = bury(i) end
  if wrong then return wrong end
  if ours or not k then answer(reply_to, outcome) end  -- of a step that came twice nobody hears
  release(entry, job, has_id, unique)
  if k and ours then note_course(k, entry, job, next_entry, place) end
end

local WIDTH = {x = 2, r = 5, f = 9, d = 16, a = 10, k = 12}
local RECORD = {
  x = function() end,
  r = function(i) return keep(ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end,
  f = finish,
  d = finish,
  a = readd,
}

local skipped, done, answers = 0, {}, {0}
local i = FIRST_JOB
while i <= #ARGV do
  local letter, entry = ARGV[i], ARGV[i + 1]
  local k
  if letter == 'k' then k, i, letter = i, i + WIDTH.k, ARGV[i + WIDTH.k] end
  if is_held(entry) then
    held[entry] = false
    local wrong = RECORD[letter](i, entry, k)
    if wrong then
      answers[#answers + 1] = entry
      answers[#answers + 1] = wrong
    else
      done[#done + 1] = entry
    end
  else
    skipped = skipped + 1
  end
  i = i + WIDTH[letter]
end

for first = 1, #done, ACK_CHUNK do
  local last = math.min(first + ACK_CHUNK - 1, #done)
  redis.call('XACK', stream, group, unpack(done, first, last))
  redis.call('XDEL', stream, unpack(done, first, last))
end

local next_score = scheduled_any and redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2] or ''
local head = {0, skipped, lost_replies, next_score}
for n = 2, #answers do head[n + 3] = answers[n] end
return head
