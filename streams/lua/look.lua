-- How full work streams are. KEYS: work streams, those that belong together one behind the other. ARGV: for each such
-- group how many they are. Changes nothing. Answers for each group {jobs in it, jobs that nobody has been given,
-- ms that the oldest of those has waited, jobs that have ended so far}.
${DELIVERED}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function depth(works)
  local jobs, waiting, waited, left = 0, 0, 0, 0
  for _, work in ipairs(works) do
    local length = redis.call('XLEN', work)
    if length > 0 then
      local pending, last = delivered(work)
      local oldest = redis.call('XRANGE', work, '(' .. last, '+', 'COUNT', 1)
      if #oldest > 0 then waited = math.max(now - tonumber(string.match(oldest[1][1], '^%d+')), waited) end
      jobs, waiting = jobs + length, waiting + math.max(length - pending, 0)
    end
  end
  for _, ended in ipairs(redis.call('HMGET', '${LEFT}', unpack(works))) do left = left + tonumber(ended or 0) end
  return {jobs, waiting, waited, left}
end

local answer, first = {}, 1
for group, size in ipairs(ARGV) do
  answer[group] = depth({unpack(KEYS, first, first + size - 1)})
  first = first + size
end
return answer
