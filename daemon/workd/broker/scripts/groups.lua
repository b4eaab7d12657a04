-- What scripts know of groups: counting a member that ended, and ending the group. Put before `settle` and `move_due`.
--
-- A group's record is the hash `group:<id>`: `created` and `deadline` in ms, `ttl` of the outcome in ms, `reply_to`,
-- `before` and `after` (the callback's message around its argument), `s` (their signature, or none: see signing.py), `cancel_rest`, `room` (bytes left for outcomes, or ''),
-- `sealed`, `added`, `succeeded`, `failed`, `ended`. Beside it `group:<id>:members` (a bit for each that ended), and
-- `group:<id>:outcomes` (hash: index → JSON). `groups` has the ids of all that have not ended, by deadline.
--
-- Invariant: a member is counted once, whatever is sent again: its bit says so. A group ends once, with its last member
-- or at its deadline: `ended` says so. What can fail comes before what cannot be undone, and nothing fails half: the last
-- member of a group that cannot end stays pending, and asks again. A group whose record is gone holds up nobody.

local FORGET_MS = 60000  -- a record outlives its group by this at least, so that late members find it ended
local ASK_CHUNK = 1000
local MAX_MEMBERS = 100000  -- as in a message; anybody may have written the record

local function group_problem(key, reply)
  if type(reply) == 'table' and reply.err then return key .. ': ' .. tostring(reply.err) end
end

local function group_time()
  local time = redis.call('TIME')
  return time[1] .. '.' .. string.format('%06d', time[2])
end

-- The outcomes of all members as one JSON array, null for each that has none.
local function outcomes_json(key, added)
  local parts = {}
  added = math.min(added, MAX_MEMBERS)
  for first = 0, added - 1, ASK_CHUNK do
    local names = {}
    for index = first, math.min(first + ASK_CHUNK, added) - 1 do names[#names + 1] = index end
    local row = redis.pcall('HMGET', key .. ':outcomes', unpack(names))
    if row.err then return nil, group_problem(key .. ':outcomes', row) end
    for n = 1, #names do parts[#parts + 1] = row[n] or 'null' end
  end
  return '[' .. table.concat(parts, ',') .. ']'
end

-- End a group: its outcome, its callback, and that it has ended. Returns an error, or nil.
local function end_group(prefix, id)
  local key = prefix .. 'group:' .. id
  local record = redis.pcall('HMGET', key, 'created', 'ended', 'sealed', 'added', 'succeeded', 'failed', 'ttl',
    'reply_to', 'before', 'after', 'room', 's')
  if record.err then return group_problem(key, record) end
  if not record[1] or record[2] then
    redis.pcall('ZREM', prefix .. 'groups', id)
    return
  end
  local added, succeeded, failed = tonumber(record[4]) or 0, tonumber(record[5]) or 0, tonumber(record[6]) or 0
  local created_ms, ttl_ms, reply_to = tonumber(record[1]) or 0, tonumber(record[7]) or 0, record[8] or ''
  local summary = '{"id":"' .. id .. '","total":' .. string.format('%.0f', added) .. ',"succeeded":'
    .. string.format('%.0f', succeeded) .. ',"failed":' .. string.format('%.0f', failed) .. ',"unfinished":'
    .. string.format('%.0f', math.max(0, added - succeeded - failed)) .. ',"sealed":' .. (record[3] and 'true' or 'false')
  if record[11] and record[11] ~= '' then
    local outcomes, wrong = outcomes_json(key, added)
    if wrong then return wrong end
    summary = summary .. ',"outcomes":' .. outcomes
  end
  summary = summary .. '}'
  local outcome = '{"v":1,"id":"' .. id .. '","task":"","status":"succeeded","value":' .. summary
    .. ',"error":null,"attempts":0,"deliveries":0,"enqueued_at":' .. string.format('%.3f', created_ms / 1000)
    .. ',"started_at":null,"ended_at":' .. group_time() .. ',"daemon":""}'

  if ttl_ms > 0 then
    local result = prefix .. 'result:' .. id
    local wrong = group_problem(result, redis.pcall('SET', result, outcome, 'PX', string.format('%.0f', ttl_ms), 'GET'))
    if wrong then return wrong end
  end
  if record[9] and record[9] ~= '' then
    local stream, seen = prefix .. 'stream', prefix .. 'seen:' .. id .. '.end'
    -- It comes once, for this group: what is done under its id is the callback of an earlier group of the same id.
    if redis.pcall('GET', seen) == 'done' then redis.call('DEL', seen) end
    local after = record[10] or ''
    local command = {'XADD', stream, '*', 'm', record[9] .. summary .. after}
    if record[12] then command[6], command[7] = 's', record[12] .. ':' .. #record[9] .. ':' .. #after end
    local wrong = group_problem(stream, redis.pcall(unpack(command)))
    if wrong then return wrong end
  end
  redis.call('HSET', key, 'ended', '1')
  redis.call('PEXPIRE', key, string.format('%.0f', math.max(FORGET_MS, ttl_ms)))
  redis.call('DEL', key .. ':members', key .. ':outcomes')
  redis.pcall('ZREM', prefix .. 'groups', id)
  if reply_to ~= '' then redis.pcall('XADD', prefix .. 'reply:' .. reply_to, 'NOMKSTREAM', '*', 'm', outcome) end
end

-- Keep a member's outcome where there is room for it, else that it had one: `body` is what may be left out.
local function keep_outcome(key, room, index, head, body)
  local text = head .. body
  if #text > room then text = head .. ',"omitted":true}' end
  local wrong = group_problem(key .. ':outcomes', redis.pcall('HSET', key .. ':outcomes', index, text))
  if wrong then return wrong end
  local left_ms = redis.call('PTTL', key)
  if left_ms > 0 then redis.call('PEXPIRE', key .. ':outcomes', left_ms) end
  return group_problem(key, redis.pcall('HINCRBY', key, 'room', -#text))
end

-- Count a member that ended, `how` being the field 'succeeded' or 'failed'; end the group with its last. Returns an
-- error, or nil.
local function count_member(prefix, id, index, how, head, body)
  local key = prefix .. 'group:' .. id
  local record = redis.pcall('HMGET', key, 'created', 'ended', 'sealed', 'added', 'succeeded', 'failed', 'room')
  if record.err then return group_problem(key, record) end
  if not record[1] or record[2] then return end
  local done = (tonumber(record[5]) or 0) + (tonumber(record[6]) or 0)
  local members = key .. ':members'
  local bit = redis.pcall('GETBIT', members, index)
  if type(bit) == 'table' then return group_problem(members, bit) end
  if bit == 0 then
    if record[7] and record[7] ~= '' then
      local wrong = keep_outcome(key, tonumber(record[7]) or 0, index, head, body)
      if wrong then return wrong end
    end
    local wrong = group_problem(key, redis.pcall('HINCRBY', key, how, 1))
    if wrong then return wrong end
    redis.call('SETBIT', members, index, 1)
    done = done + 1
  end
  if record[3] and done >= (tonumber(record[4]) or 0) then return end_group(prefix, id) end
end
