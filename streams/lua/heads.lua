-- What waits first in work streams. KEYS: work streams. ARGV: how many jobs of each to tell. Changes nothing.
-- Answers for each stream that has any {its place in KEYS, what its first job costs, its second, …}.
${DELIVERED}
local answer = {}
for place, work in ipairs(KEYS) do
  if redis.call('XLEN', work) > 0 then
    local _, last = delivered(work)
    local told = {place}
    for _, entry in ipairs(redis.call('XRANGE', work, '(' .. last, '+', 'COUNT', ARGV[1])) do
      local cost = ''
      for at = 1, #entry[2], 2 do
        if entry[2][at] == '${COST_FIELD}' then cost = entry[2][at + 1] end
      end
      told[#told + 1] = cost
    end
    if #told > 1 then answer[#answer + 1] = told end
  end
end
return answer
