-- Keeps the leases of what this worker holds. ARGV: seat, then for each job: request, epoch, work stream, entry.
-- Answers the requests it no longer holds.
local lost = {}
for at = 2, #ARGV, 4 do
  local request, work, entry = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  local kept = false
  if redis.call('HGET', '${CLAIM}' .. request, 'epoch') == ARGV[at + 1] then
    -- JUSTID resets the idle time and leaves the number of deliveries alone.
    kept = #redis.call('XCLAIM', work, '${GROUP}', ARGV[1], 0, entry, 'JUSTID') == 1
  end
  if not kept then lost[#lost + 1] = request end
end
return lost
