-- Appends one step of one worker: to each gateway's reply stream and to each request's token log, or to neither.
-- ARGV: number of requests, ms that an ended request's claim and token log linger, ms that an unled gateway's stream
-- is kept; then for each request: id, epoch, number of its first item, 1 if its last item is the end,
-- gateway boot, count, and count frames of one item each.
-- Answers what went wrong, flat: request, what, at. Nothing is left out silently:
--   stale   another claim, or none, holds the request: nothing of it was written
--   gap     the token log ends at `at`, before the first item: nothing was written, send again from there
--   cancel  nobody waits any more        orphan  its gateway has no lease
local linger, unled = ARGV[2], ARGV[3]
local frames, gateways, leases, report = {}, {}, {}, {}

local function tell(request, what, at)
  local n = #report
  report[n + 1], report[n + 2], report[n + 3] = request, what, at
end

local function led(gateway)
  if leases[gateway] == nil then leases[gateway] = redis.call('EXISTS', '${GATEWAY}' .. gateway) == 1 end
  return leases[gateway]
end

local function append(gateway, log, at, from, count)
  local frame = frames[gateway]
  if not frame then
    frame = {}
    frames[gateway], gateways[#gateways + 1] = frame, gateway
  end
  for item = from, count - 1 do
    -- Frames of one item each, put one behind the other, are one frame of all items: repeated fields concatenate.
    frame[#frame + 1] = ARGV[at + item]
    redis.call('RPUSH', log, ARGV[at + item])
  end
end

local function finish(request, claim, epoch)
  local held = redis.call('HMGET', claim, 'work', 'entry', 'until')
  local work, entry, kept_until = held[1], held[2], held[3]
  redis.call('SET', '${ENDED}' .. request, epoch, 'PXAT', kept_until)
  redis.call('XACK', work, '${GROUP}', entry)
  -- Once, also when the call that ended it is repeated.
  if redis.call('XDEL', work, entry) == 1 then redis.call('HINCRBY', '${LEFT}', work, 1) end
  redis.call('DEL', '${QUEUED}' .. request)
  redis.call('PEXPIRE', claim, linger)
  redis.call('PEXPIRE', '${TOKENS}' .. request, linger)
end

local at = 4
for _ = 1, tonumber(ARGV[1]) do
  local request, epoch, first, last, gateway = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]
  local count = tonumber(ARGV[at + 5])
  local claim, log = '${CLAIM}' .. request, '${TOKENS}' .. request
  if redis.call('HGET', claim, 'epoch') ~= epoch then
    tell(request, 'stale', 0)
  else
    local length = redis.call('LLEN', log)
    if first > length then
      tell(request, 'gap', length)
    else
      -- Items below `length` were written by a call whose answer got lost.
      local from = length - first
      if from < count then append(gateway, log, at + 6, from, count) end
      if length == 0 and count > 0 then redis.call('PEXPIREAT', log, redis.call('HGET', claim, 'until')) end
      if last == '1' then finish(request, claim, epoch) end
    end
    if last ~= '1' then
      if redis.call('EXISTS', '${CANCELLED}' .. request) == 1 then tell(request, 'cancel', 0) end
      if not led(gateway) then tell(request, 'orphan', 0) end
    end
  end
  at = at + 6 + count
end

for _, gateway in ipairs(gateways) do
  local out = '${OUT}' .. gateway
  redis.call('XADD', out, '*', '${FRAME_FIELD}', table.concat(frames[gateway]))
  if not led(gateway) then redis.call('PEXPIRE', out, unled) end
end
return report
