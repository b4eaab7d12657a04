#!lua flags=allow-oom
-- Decide whether jobs that a producer named (`id`), made unique, or that were put back before, may run.
--
-- KEYS  1 stream  2 leases
-- ARGV  1 daemon  2 prefix of the queue's keys  3 ms that a claim is kept while its job is on its way
--       4.. per job: entry, job, has_id ('1' or ''), unique ('' = none)
--
-- Returns {-1} when fenced, else a number per job: 0 run, 1 duplicate, 2 cancelled, 3 a claim of it holds another type
--
-- Invariant: a claim says where its job is. `seen:<id>` holds the entry id, `scheduled` or, for a while after the outcome,
-- `done`, or `chain …` (see settle.lua) while the chain with this id goes on; `unique:<key>` holds the same, a space and the job's id. The same entry is the same job (history, takeover). A
-- claim whose entry is not in the stream any more belongs to nobody: every script that removes an entry moves or releases
-- its claims; nor does a claim of a scheduled job that was taken out (`void:<id>`). So asking twice gives the same answer. A claim of another type is somebody else's: it stays, and only the
-- job that needs it is held back.

local stream, leases = KEYS[1], KEYS[2]
local me, prefix, claim_ms = ARGV[1], ARGV[2], ARGV[3]
local FIRST_JOB, WIDTH = 4, 4
local RUN, DUPLICATE, CANCELLED, WRONG_KEY = 0, 1, 2, 3

if not redis.call('HGET', leases, me) then return {-1} end

local function is_gone(place)
  if place == 'scheduled' or place == 'done' then return false end
  local first, step = string.match(place, '^chain %d+ (%S+) = (.*)$')
  if step then  -- where its step is, if that was here once, or else in the entry that it began as
    place = redis.pcall('GET', prefix .. 'seen:' .. step)
    if place == 'scheduled' or place == 'done' or type(place) == 'table' then return false end
    place = place or first
  end
  local row = redis.pcall('XRANGE', stream, place, place)  -- an error: it never was an entry id, so not our writing
  return row.err == nil and row[1] == nil
end

-- Returns RUN, DUPLICATE or WRONG_KEY.
local function claim_id(entry, job)
  local key = prefix .. 'seen:' .. job
  local place = redis.pcall('GET', key)
  if type(place) == 'table' then return WRONG_KEY end
  if place and place ~= entry and not is_gone(place) then return DUPLICATE end
  redis.call('SET', key, entry, 'PX', claim_ms)
  return RUN
end

local function is_void(place, job)
  return place == 'scheduled' and redis.call('EXISTS', prefix .. 'void:' .. job) == 1
end

local function claim_unique(entry, job, unique)
  local key = prefix .. 'unique:' .. unique
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return WRONG_KEY end
  if value then
    local space = string.find(value, ' ', 1, true) or #value + 1
    local place, holder = string.sub(value, 1, space - 1), string.sub(value, space + 1)
    if holder ~= job and not is_gone(place) and not is_void(place, holder) then return DUPLICATE end
  end
  redis.call('SET', key, entry .. ' ' .. job, 'PX', claim_ms)
  return RUN
end

local answer = {}
for i = FIRST_JOB, #ARGV, WIDTH do
  local entry, job, has_id, unique = unpack(ARGV, i, i + 3)
  local verdict = RUN
  if has_id ~= '' then verdict = claim_id(entry, job) end
  if verdict == RUN and unique ~= '' then verdict = claim_unique(entry, job, unique) end
  if verdict == RUN and redis.call('EXISTS', prefix .. 'cancel:' .. job) == 1 then verdict = CANCELLED end
  answer[#answer + 1] = verdict
end
return answer
