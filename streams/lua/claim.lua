-- Makes a delivered entry this worker's, under a new epoch. KEYS: work stream.
-- ARGV: request, entry, seat, worker boot, kept until ms.
-- Answers {'claimed', epoch, deliveries, cancelled, frames…} · {'ended'} · {'replay'} · {'lost'}.
local work, request, entry = KEYS[1], ARGV[1], ARGV[2]
local claim = '${CLAIM}' .. request

local pending = redis.call('XPENDING', work, '${GROUP}', entry, entry, 1)
if #pending == 0 or pending[1][2] ~= ARGV[3] then return {'lost'} end -- another worker took it over meanwhile

local held = redis.call('HMGET', claim, 'entry', 'epoch')
local ended = redis.call('EXISTS', '${ENDED}' .. request) == 1
if ended or (held[1] and held[1] ~= entry) then
  redis.call('XACK', work, '${GROUP}', entry)
  redis.call('XDEL', work, entry)
  if held[1] == entry then return {'ended'} end
  return {'replay'}
end

-- From the clock, so that no epoch comes twice even when Redis lost its last second.
local time = redis.call('TIME')
local epoch = math.max(tonumber(held[2] or 0) + 1, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local name = string.format('%.0f', epoch)
redis.call('HSET', claim, 'epoch', name, 'entry', entry, 'work', work, 'owner', ARGV[4], 'until', ARGV[5])
redis.call('PEXPIREAT', claim, ARGV[5])

local answer = {'claimed', name, pending[1][4], redis.call('EXISTS', '${CANCELLED}' .. request)}
for _, frame in ipairs(redis.call('LRANGE', '${TOKENS}' .. request, 0, -1)) do answer[#answer + 1] = frame end
return answer
