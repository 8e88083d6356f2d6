-- How full work streams are. KEYS: work streams. Changes nothing.
-- Answers for each {jobs in it, jobs that nobody has been given, ms that the oldest of those has waited,
-- jobs that have ended so far}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for i, work in ipairs(KEYS) do
  local pending, delivered = 0, '0-0'
  local groups = redis.pcall('XINFO', 'GROUPS', work)
  if not groups.err then
    for _, group in ipairs(groups) do
      local fields = {}
      for at = 1, #group, 2 do fields[group[at]] = group[at + 1] end
      if fields['name'] == '${GROUP}' then pending, delivered = fields['pending'], fields['last-delivered-id'] end
    end
  end
  local length = redis.call('XLEN', work)
  local oldest = redis.call('XRANGE', work, '(' .. delivered, '+', 'COUNT', 1)
  local waited = 0
  if #oldest > 0 then waited = math.max(now - tonumber(string.match(oldest[1][1], '^%d+')), 0) end
  local left = tonumber(redis.call('HGET', '${LEFT}', work) or 0)
  answer[i] = {length, math.max(length - pending, 0), waited, left}
end
return answer
