#!lua flags=allow-oom
-- Cancel a job wherever it is: what no daemon has is ended here, what a daemon has is told to it.
--
-- KEYS  1 stream  2 scheduled
-- ARGV  1 prefix of the queue's keys  2 the queue's name  3 consumer group  4 job id
--       5 entry that may be its first one ('' = none)  6 where to go on looking, as answered ('' = the first call)
--       7 ms that the wish is kept  8 ms that `seen` is kept after the outcome  9 ms that a claim is kept
--       10 ms to keep the outcome if the message does not say  11 channel for daemons
--       12 what the names of consumers begin with that stand for jobs which wait for a limit
--
-- Returns {word, where to go on looking or ''}; the words:
--   cancelled  it will never start, and its outcome is recorded
--   asked      a daemon has it, or will have it soon, and stops it
--   ended      it had ended before
--   elsewhere  it is a chain that has gone on in another queue: go on there, under its name there. Where to go on looking
--              is that queue then
--   unknown    no trace of it (so far, if there is more to look at); the wish is kept, should it come
--
-- Invariant: an outcome is written only for a job that is taken out of the queue in the same run of this script, and
-- only if no daemon has it: a pending job is its daemon's, unless it is pending for those that wait for a limit. What this script does not understand in a message, it leaves to
-- a daemon. The wish (`cancel:<id>`) is written before anything is looked for, so a job that moves meanwhile meets it.
-- Writes that can be repeated come first, the removal last. No key of another type is overwritten.

local stream, scheduled = KEYS[1], KEYS[2]
local prefix, queue, group, job, hint, go_on = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local wish_ms, seen_ms, claim_ms, kept_ms, channel, waiting = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local sought = job  -- among the scheduled: of a chain, the step that it is at
local SCANS, SCAN_MEMBERS = 10, 1000
local READS, READ_ENTRIES, READ_BYTES = 20, 50, 1048576
local MAX_TTL_S = 10 * 366 * 86400
local TEXT, NUMBER = {id = true, unique = true, reply_to = true}, {result_ttl = true, timeout = true}
local KNOWN = {task = true, args = true, kwargs = true, v = true, run_at = true, expires_at = true, max_retries = true,
  trace = true, meta = true, soft_timeout = true, start_by = true}

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function failed(reply) return type(reply) == 'table' and reply.err end

local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
end

local function decoded(message)
  local ok, said = pcall(cjson.decode, message)
  if ok and type(said) == 'table' and type(said.task) == 'string' then return said end
end

-- Return the message's fields, if this script knows all there is to do about its end.
local function understood(message)
  local said = decoded(message)
  if not said or not string.find(said.task, '^[%a_][%w_.:-]*$') then return nil end
  for name, value in pairs(said) do
    if value == cjson.null then
      said[name] = nil
    elseif TEXT[name] then
      if type(value) ~= 'string' or value == '' then return nil end
    elseif NUMBER[name] then
      if type(value) ~= 'number' or value < 0 or value > MAX_TTL_S then return nil end
    elseif not KNOWN[name] then
      return nil
    end
  end
  if said.reply_to and (#said.reply_to > 64 or string.find(said.reply_to, '[^%w._-]')) then return nil end
  if said.v and said.v ~= 1 then return nil end
  return said
end

local function wish(ms)
  local reply = redis.pcall('SET', prefix .. 'cancel:' .. job, '1', 'PX', ms, 'GET')
  if failed(reply) then return reply end
  -- Who may not publish, or has no daemon that listens, is heard at the next renewal.
  redis.pcall('PUBLISH', channel, cjson.encode({v = 1, ['do'] = 'cancel', queue = queue, id = job}))
end

local function asked(ms) return wish(ms) or {'asked', ''} end

local function outcome_of(said, n, enqueued_ms)
  local attempts, crashes, takeovers, handbacks = string.match(n, '^(%d+) (%d+) (%d+) (%d+)')
  local runs = (attempts or 0) + (crashes or 0) + (takeovers or 0) + (handbacks or 0)
  return '{"v":1,"id":' .. cjson.encode(job) .. ',"task":' .. cjson.encode(said.task)
    .. ',"status":"cancelled","value":null,"error":{"type":"cancelled","message":"cancelled before it started",'
    .. '"traceback":null,"cause":null},"attempts":' .. (attempts or 0) .. ',"deliveries":' .. string.format('%.0f', runs)
    .. ',"enqueued_at":' .. string.format('%.3f', enqueued_ms / 1000) .. ',"started_at":null,"ended_at":'
    .. string.format('%.3f', now_ms / 1000) .. ',"daemon":""}'
end

local function release(said, place)
  if said.id == job then
    local key = prefix .. 'seen:' .. job
    local holder = get(key)
    if holder == place or not redis.pcall('GET', key) then redis.pcall('SET', key, 'done', 'PX', seen_ms) end
  end
  if said.unique then
    local key = prefix .. 'unique:' .. said.unique
    local value = get(key)
    local space = value and string.find(value, ' ', 1, true)
    if space and string.sub(value, space + 1) == job then redis.pcall('DEL', key) end
  end
end

-- Record that the job is cancelled; nil, or the error that keeps it where it is.
local function finish(said, place, n, enqueued_ms)
  local outcome = outcome_of(said, n, enqueued_ms)
  local ttl_ms = said.result_ttl and math.floor(said.result_ttl * 1000) or tonumber(kept_ms)
  if ttl_ms > 0 then
    local kept = redis.pcall('SET', prefix .. 'result:' .. job, outcome, 'PX', string.format('%.0f', ttl_ms), 'GET')
    if failed(kept) then return kept end
  end
  if said.reply_to then redis.pcall('XADD', prefix .. 'reply:' .. said.reply_to, 'NOMKSTREAM', '*', 'm', outcome) end
  release(said, place)
  redis.pcall('DEL', prefix .. 'cancel:' .. job)
end

-- A unique key of a job that was scheduled says so until the job is admitted again; one that its task made only daemons know.
-- `admit` finds that it is void.
local function void(said, ms)
  if said.unique then return end
  redis.pcall('SET', prefix .. 'void:' .. job, '1', 'PX', string.format('%.0f', ms + claim_ms), 'GET')
end

local function fields_of(pairs_of_fields)
  local fields = {}
  for i = 1, #pairs_of_fields, 2 do fields[pairs_of_fields[i]] = pairs_of_fields[i + 1] end
  return fields
end

local function is_with_a_daemon(entry)
  local rows = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  return not failed(rows) and rows[1] ~= nil and string.sub(rows[1][2], 1, #waiting) ~= waiting
end

local function remove(entry)
  redis.pcall('XACK', stream, group, entry)  -- one that waited for a limit; without a group there is none
  redis.call('XDEL', stream, entry)
end

-- Put the entry back as one whose job was with a daemon before: such a one is looked up before it starts.
local function leave_to_a_daemon(entry, fields)
  local command = {'XADD', stream, '*', 'm', fields.m, 'id', job, 'n', fields.n or '0 0 0 0', 't',
    fields.t or string.match(entry, '^%d+')}
  if fields.s then command[#command + 1] = 's'; command[#command + 1] = fields.s end
  local failure = wish(claim_ms)
  if failure then return failure end
  local again = redis.call(unpack(command))
  local key = prefix .. 'seen:' .. job
  if get(key) == entry then redis.pcall('SET', key, again, 'PX', claim_ms) end
  remove(entry)
  return {'asked', ''}
end

-- Cancel the job if this entry is its; nil if not.
local function cancel_entry(entry, fields)
  local said = fields.m and decoded(fields.m)
  local named = said and type(said.id) == 'string' and said.id
  if (fields.id or named or entry) ~= job then return nil end
  if not said or is_with_a_daemon(entry) then return asked(wish_ms) end
  said = understood(fields.m)
  if not said then return leave_to_a_daemon(entry, fields) end
  local failure = finish(said, entry, fields.n or '', tonumber(fields.t) or tonumber(string.match(entry, '^%d+')))
  if failure then return failure end
  if fields.n then void(said, 0) end
  remove(entry)
  return {'cancelled', ''}
end

local function look_at(entry)
  if not entry or not string.find(entry, '^%d+%-%d+$') then return nil end
  local rows = redis.pcall('XRANGE', stream, entry, entry)
  if failed(rows) or not rows[1] then return nil end
  return cancel_entry(entry, fields_of(rows[1][2]))
end

local function cancel_member(member, score)
  local _, last, id_bytes, signature_bytes, n, t = string.find(member, '^(%d+):(%d+):([%d ]+):(%d+):')
  if not last or string.sub(member, last + 1, last + id_bytes) ~= sought then return nil end
  local said = understood(string.sub(member, last + id_bytes + signature_bytes + 1))
  if not said then  -- due now: whoever moves and fetches it is told
    local failure = wish(claim_ms)
    if not failure then redis.call('ZADD', scheduled, 'XX', 0, member) end
    return failure or {'asked', ''}
  end
  local failure = finish(said, 'scheduled', n, tonumber(t))
  if failure then return failure end
  void(said, math.max(0, (tonumber(score) or 0) - now_ms))
  redis.call('ZREM', scheduled, member)
  return {'cancelled', ''}
end

local function scan_scheduled(cursor)
  local pattern = #sought .. ':*:' .. string.gsub(sought, '[%[%]%*%?%^%\\%-]', '\\%0') .. '*'
  for _ = 1, SCANS do
    local page = redis.pcall('ZSCAN', scheduled, cursor, 'MATCH', pattern, 'COUNT', SCAN_MEMBERS)
    if failed(page) then return {'unknown', 's-'} end
    for i = 1, #page[2], 2 do
      local answer = cancel_member(page[2][i], page[2][i + 1])
      if answer then return answer end
    end
    cursor = tostring(page[1])
    if cursor == '0' then return {'unknown', 's-'} end
  end
  return {'unknown', 'z' .. cursor}
end

local function read_stream(start)
  local bytes = 0
  for _ = 1, READS do
    local rows = redis.pcall('XRANGE', stream, start, '+', 'COUNT', READ_ENTRIES)
    if failed(rows) or #rows == 0 then return {'unknown', ''} end
    for _, row in ipairs(rows) do
      local fields = fields_of(row[2])
      local message = fields.m or ''
      bytes = bytes + #message
      if fields.id == job or (not fields.id and string.find(message, job, 1, true)) then
        local answer = cancel_entry(row[1], fields)
        if answer then return answer end
      end
    end
    start = '(' .. rows[#rows][1]
    if bytes > READ_BYTES then break end
  end
  return {'unknown', 's' .. start}
end

-- The steps of a chain are told by the wish under the chain's id, wherever they are; one that is scheduled is made due.
local function cancel_chain(where, at)
  if go_on == '' then
    local failure = wish(claim_ms)
    if failure then return failure end
  end
  if where == '>' then return {'elsewhere', at} end
  sought = at
  local answer = scan_scheduled(go_on == '' and '0' or string.sub(go_on, 2))
  return string.sub(answer[2], 1, 1) == 'z' and answer or {'asked', ''}
end

local place = get(prefix .. 'seen:' .. job)
local where, at = string.match(place or '', '^chain %d+ %S+ ([=>]) (.*)$')
if where then return cancel_chain(where, at) end
if string.sub(go_on, 1, 1) == 'z' then return scan_scheduled(string.sub(go_on, 2)) end
if string.sub(go_on, 1, 1) == 's' then return read_stream(string.sub(go_on, 2)) end

if place == 'done' then return {'ended', ''} end
local answer = look_at(place)
if answer then return answer end
if place ~= 'scheduled' then
  answer = look_at(hint) or look_at(job)
  if answer then return answer end
  if redis.call('EXISTS', prefix .. 'result:' .. job) == 1 then return {'ended', ''} end
end
local failure = wish(wish_ms)
if failure then return failure end
return scan_scheduled('0')
