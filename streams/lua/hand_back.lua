-- Lets anyone take over at once what this worker holds, and forgets this delivery: handing back is no crash.
-- ARGV: seat, idle ms to pretend, then for each entry: work stream, entry. Answers how many were handed back.
local count = 0
for at = 3, #ARGV, 2 do
  local work, entry = ARGV[at], ARGV[at + 1]
  local pending = redis.call('XPENDING', work, '${GROUP}', entry, entry, 1)
  if #pending == 1 and pending[1][2] == ARGV[1] then
    local deliveries = math.max(pending[1][4] - 1, 0)
    redis.call('XCLAIM', work, '${GROUP}', ARGV[1], 0, entry, 'IDLE', ARGV[2], 'RETRYCOUNT', deliveries, 'JUSTID')
    count = count + 1
  end
end
return count
