-- Look through the dead letters of a queue; count, list, replay or remove those that match.
--
-- KEYS  1 dead  2 stream
-- ARGV  1 'count', 'list', 'replay', 'edit' or 'purge'
--       2 lowest and 3 highest id of the dead stream to look at ('(' before one: without it)
--       4 'newest' or 'oldest': which first
--       5 reason  6 task  7 job  8 text in the error, in lower case ('' = any)
--       9 most letters to look at  10 most letters that may match  11 most bytes to look at
--       12 prefix of the queue's keys  13 ms that a claim is kept while its job is on its way
--       14 bytes of each message to show in a list
--       15 message, 16 job and 17 signature to send in place of the letter's own ('edit')
--
-- Returns {last id looked at or '' if there are no more, looked, matched, held, empty, {row, ...}}
--   held: not replayed, since another job has its id now; empty: not replayed, since it has no message
--   row (of a list): {id, bytes of the message, field, value, ...} with the message cut as asked
--
-- Invariant: a letter is in the stream again before it leaves the dead, in one script: twice is once. Its job keeps its id.
-- The claim of that id, which is `done` for an hour, is moved to the new entry, or the job would be the duplicate of itself;
-- one that another job holds stays, and so does the letter. The job has not ended any more: its kept outcome goes, and so
-- does an old cancellation; the same is true of the chain whose step it is. Its counters begin anew. No key of another type is touched. Without a first line of flags:
-- a full memory refuses the XADD of a replay and allows a purge, which frees some.

local dead, stream = KEYS[1], KEYS[2]
local verb, low, high, newest = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == 'newest'
local reason, task, job_id, text = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local left, matches_left, bytes_left = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local prefix, claim_ms, shown_bytes = ARGV[12], ARGV[13], tonumber(ARGV[14])
local SLICE = 50

local looked, matched, held, empty = 0, 0, 0, 0
local rows, refused = {}, nil

local function named(fields)
  local letter = {}
  for i = 1, #fields, 2 do letter[fields[i]] = fields[i + 1] end
  return letter
end

local function fits(wanted, value) return wanted == '' or wanted == value end

local function matches(letter)
  if not (fits(reason, letter.reason) and fits(task, letter.task) and fits(job_id, letter.id)) then return false end
  return text == '' or string.find(string.lower(letter.error or ''), text, 1, true) ~= nil
end

local function list(id, letter, fields)
  local row = {id, #(letter.m or '')}
  for i = 1, #fields, 2 do
    row[#row + 1] = fields[i]
    row[#row + 1] = fields[i] == 'm' and string.sub(fields[i + 1], 1, shown_bytes) or fields[i + 1]
  end
  rows[#rows + 1] = row
end

local function is_another_job(place)
  if place == 'done' then return false end
  if place == 'scheduled' then return true end
  local row = redis.pcall('XRANGE', stream, place, place)  -- an error: it never was an entry id, so not our writing
  return row.err ~= nil or row[1] ~= nil
end

local function remove_text(key)
  if type(redis.pcall('GET', key)) == 'string' then redis.call('DEL', key) end
end

-- A chain has not ended any more either: what is kept of its end goes, and its name says where it is (see settle.lua).
local function revive_chain(message, job, entry)
  local fine, said = pcall(cjson.decode, message)
  local place = fine and type(said) == 'table' and said.chain
  if type(place) ~= 'table' or type(place.id) ~= 'string' then return end
  local name, index = place.id, string.format('%.0f', tonumber(place.index) or 1)
  if type(place.queue) == 'string' then
    name = place.queue .. ':' .. name
  else
    remove_text(prefix .. 'result:' .. name)
  end
  remove_text(prefix .. 'cancel:' .. name)
  redis.pcall('SET', prefix .. 'seen:' .. name, 'chain ' .. index .. ' ' .. entry .. ' = ' .. job, 'PX', claim_ms, 'GET')
end

local function replay(id, letter)
  local message, job, signature = letter.m or '', letter.id or '', letter.s or ''
  if verb == 'edit' then
    message, signature = ARGV[15], ARGV[17]
    if ARGV[16] ~= '' then job = ARGV[16] end
  end
  if message == '' then
    empty = empty + 1
    return
  end
  local seen = prefix .. 'seen:' .. job
  local place = redis.pcall('GET', seen)
  if type(place) == 'table' or (place and is_another_job(place)) then
    held = held + 1
    return
  end
  local command = {'XADD', stream, '*', 'm', message}
  local function add(name, value)
    if value ~= '' then command[#command + 1], command[#command + 2] = name, value end
  end
  add('id', job)
  add('s', signature)
  local entry = redis.pcall(unpack(command))
  if type(entry) == 'table' then
    refused = entry
    return
  end
  if place then redis.call('SET', seen, entry, 'PX', claim_ms) end
  remove_text(prefix .. 'result:' .. job)
  remove_text(prefix .. 'cancel:' .. job)
  if string.find(message, '"chain"', 1, true) then revive_chain(message, job, entry) end
  redis.call('XDEL', dead, id)
end

local function purge(id) redis.call('XDEL', dead, id) end

local DO = {count = function() end, list = list, replay = replay, edit = replay, purge = purge}

local function read()
  local count = math.min(SLICE, left)
  if newest then return redis.call('XREVRANGE', dead, high, low, 'COUNT', count), count end
  return redis.call('XRANGE', dead, low, high, 'COUNT', count), count
end

local last = ''
while left > 0 and matches_left > 0 and bytes_left > 0 do
  local slice, asked = read()
  for _, row in ipairs(slice) do
    local id, fields = row[1], row[2]
    local letter = named(fields)
    if matches(letter) then
      DO[verb](id, letter, fields)
      if refused then return refused end
      matched = matched + 1
      matches_left = matches_left - 1
    end
    looked, left, last = looked + 1, left - 1, id
    for i = 1, #fields do bytes_left = bytes_left - #fields[i] end
    if matches_left <= 0 or bytes_left <= 0 then break end
  end
  if #slice < asked and matches_left > 0 and bytes_left > 0 then
    last = ''
    break
  end
  if newest then high = '(' .. last else low = '(' .. last end
end
return {last, looked, matched, held, empty, rows}
