-- Throw away jobs that have not started, and tell whoever waits for them.
--
-- KEYS  1 stream  2 scheduled
-- ARGV  1 'queued' or 'scheduled'  2 group  3 what consumers begin with that stand for waiting jobs
--       4 prefix of the queue's keys  5 highest entry id to look at  6 most jobs  7 most bytes
--       8 ms that a claim is kept while its job is on its way
--
-- Returns {jobs thrown away, outcomes that could not be written}
--
-- Invariant: a job that a daemon has is left alone. Of the others the claims are released with them, or an id would stay
-- taken by a job that is gone; a claim that another job holds stays. A job whose message asks for its outcome has one, as
-- any other that was cancelled: `cancelled`. The reply or result that cannot be written is counted, and the job goes all the
-- same. A job of a group or a chain has more to its end than this script knows: it is cancelled, and stands in the stream
-- again as one that a daemon had before, so that one is asked before it starts and ends it. No key of another type is touched.

local stream, scheduled = KEYS[1], KEYS[2]
local what, group, waiting_prefix, prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local high, left, bytes_left, claim_ms = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local SLICE = 50
local ERROR = '{"type":"cancelled","message":"the queue was purged","traceback":null,"cause":null}'

local time = redis.call('TIME')
local now_s = time[1] .. '.' .. string.format('%06d', time[2])
local purged, lost = 0, 0

local function value_of(pairs_of_fields, name)
  for i = 1, #pairs_of_fields, 2 do
    if pairs_of_fields[i] == name then return pairs_of_fields[i + 1] end
  end
end

local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
end

-- The message as a table; empty if it is no JSON object or says nothing that matters here.
local function read(message)
  local matters = string.find(message, '\\', 1, true)
  for _, word in ipairs({'"id"', '"unique"', '"re', '"group"', '"then"', '"chain"'}) do
    matters = matters or string.find(message, word, 1, true)
  end
  if not matters then return {} end
  local fine, told = pcall(cjson.decode, message)
  return fine and type(told) == 'table' and told or {}
end

local function text_in(told, name) return type(told[name]) == 'string' and told[name] or nil end

-- `place` is where the claims say that this job is.
local function release(told, job, place)
  local seen = prefix .. 'seen:' .. job
  if get(seen) == place then redis.call('DEL', seen) end
  local unique = text_in(told, 'unique')
  if unique and get(prefix .. 'unique:' .. unique) == place .. ' ' .. job then
    redis.call('DEL', prefix .. 'unique:' .. unique)
  end
end

local function note(reply)
  if type(reply) == 'table' and reply.err then lost = lost + 1 end
end

local function tell(told, job, n, enqueued_ms)
  local ttl_s, reply_to = told.result_ttl, text_in(told, 'reply_to')
  local kept = type(ttl_s) == 'number' and ttl_s > 0 and ttl_s < 1e9
  if not kept and not reply_to then return end
  local attempts, crashes, takeovers, handbacks = string.match(n, '^(%d+) (%d+) (%d+) (%d+)')
  local runs = attempts and attempts + crashes + takeovers + handbacks or 0
  local outcome = '{"v":1,"id":' .. cjson.encode(job) .. ',"task":' .. cjson.encode(text_in(told, 'task') or '')
    .. ',"status":"cancelled","value":null,"error":' .. ERROR .. ',"attempts":' .. (attempts or 0) .. ',"deliveries":' .. runs
    .. ',"enqueued_at":' .. string.format('%.3f', enqueued_ms / 1000) .. ',"started_at":null,"ended_at":' .. now_s
    .. ',"daemon":""}'
  if kept then
    local ttl_ms = string.format('%.0f', math.max(1, ttl_s * 1000))
    note(redis.pcall('SET', prefix .. 'result:' .. job, outcome, 'PX', ttl_ms, 'GET'))
  end
  if reply_to and string.find(reply_to, '^[%w._-]+$') then
    note(redis.pcall('XADD', prefix .. 'reply:' .. reply_to, 'NOMKSTREAM', '*', 'm', outcome))
  end
end

local function has_kin(told)
  return type(told.group) == 'table' or type(told['then']) == 'table' or type(told.chain) == 'table'
end

-- Cancel a job and leave its end to a daemon; `place` is where its claims say that it is.
local function leave(message, job, n, t, signature, place)
  if type(redis.pcall('SET', prefix .. 'cancel:' .. job, '1', 'PX', claim_ms, 'GET')) == 'table' then lost = lost + 1 end
  local command = {'XADD', stream, '*', 'm', message, 'id', job, 'n', n, 't', t}
  if signature ~= '' then command[#command + 1], command[#command + 2] = 's', signature end
  local again = redis.call(unpack(command))
  local seen = prefix .. 'seen:' .. job
  if get(seen) == place then redis.call('SET', seen, again, 'PX', claim_ms) end
end

-- A unique key of a job that was scheduled says so until the job is admitted again, and may be one that its task made and
-- that only daemons know.
local function void(job, score)
  local ms = math.max(0, tonumber(score) - time[1] * 1000) + claim_ms
  if ms < 1e15 then redis.pcall('SET', prefix .. 'void:' .. job, '1', 'PX', string.format('%.0f', ms), 'GET') end
end

local function ms_of(entry) return tonumber(string.match(entry, '^%d+')) end

local function throw_away(entry, fields)
  local message = value_of(fields, 'm') or ''
  local told = read(message)
  local job = value_of(fields, 'id') or text_in(told, 'id') or entry
  local n, t = value_of(fields, 'n') or '0 0 0 0', value_of(fields, 't') or string.format('%.0f', ms_of(entry))
  if has_kin(told) then
    leave(message, job, n, t, value_of(fields, 's') or '', entry)
  else
    tell(told, job, n, tonumber(t) or ms_of(entry))
    release(told, job, entry)
    if value_of(fields, 'n') then void(job, 0) end
  end
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
  purged, left, bytes_left = purged + 1, left - 1, bytes_left - #message
end

local function throw_slice(rows)
  for _, row in ipairs(rows) do
    if left <= 0 or bytes_left <= 0 then return false end
    throw_away(row[1], row[2])
  end
  return #rows > 0
end

local function purge_waiting(consumer)
  local pending = redis.call('XPENDING', stream, group, '-', high, math.min(SLICE, left), consumer)
  local rows = {}
  for _, one in ipairs(pending) do
    local row = redis.call('XRANGE', stream, one[1], one[1])[1]
    if row then rows[#rows + 1] = row else redis.call('XACK', stream, group, one[1]) end
  end
  throw_slice(rows)
  return #pending > 0
end

local function purge_queued()
  local last, groups = '-', redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then
    if string.find(tostring(groups.err), 'no such key', 1, true) then return end
    return groups
  end
  for _, one in ipairs(groups) do
    if value_of(one, 'name') == group then last = '(' .. value_of(one, 'last-delivered-id') end
  end
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
  for _, one in ipairs(consumers.err and {} or consumers) do
    local name = value_of(one, 'name')
    if string.sub(name, 1, #waiting_prefix) == waiting_prefix then
      while left > 0 and bytes_left > 0 and purge_waiting(name) do end
    end
  end
  while left > 0 and bytes_left > 0 do
    if not throw_slice(redis.call('XRANGE', stream, last, high, 'COUNT', math.min(SLICE, left))) then break end
  end
end

local function purge_member(member, score)
  local _, last, id_bytes, signature_bytes, n, t = string.find(member, '^(%d+):(%d+):([%d ]+):(%d+):')
  if last and last + id_bytes + signature_bytes <= #member then
    local job = string.sub(member, last + 1, last + id_bytes)
    local signature = string.sub(member, last + id_bytes + 1, last + id_bytes + signature_bytes)
    local message = string.sub(member, last + id_bytes + signature_bytes + 1)
    local told = read(message)
    if has_kin(told) then
      leave(message, job, n, t, signature, 'scheduled')
    else
      tell(told, job, n, tonumber(t))
      release(told, job, 'scheduled')
      if not text_in(told, 'unique') then void(job, score) end
    end
  end
  redis.call('ZREM', scheduled, member)
  purged, left, bytes_left = purged + 1, left - 1, bytes_left - #member
end

local function purge_scheduled()
  while left > 0 and bytes_left > 0 do
    local rows = redis.call('ZRANGE', scheduled, 0, math.min(SLICE, left) - 1, 'WITHSCORES')
    if #rows == 0 then break end
    for i = 1, #rows, 2 do
      if bytes_left <= 0 then break end
      purge_member(rows[i], rows[i + 1])
    end
  end
end

local wrong
if what == 'queued' then wrong = purge_queued() else wrong = purge_scheduled() end
return wrong or {purged, lost}
