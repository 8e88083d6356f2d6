-- Takes over entries whose holder has not renewed them. KEYS: work streams, the first to look at first.
-- ARGV: seat, ms that a lease lasts, how many at most.
-- Answers {how many were deleted while somebody held them, then for each entry: its stream's place in KEYS, id, fields}.
local most, vanished = tonumber(ARGV[3]), 0
local answer, found = {0}, 0
for place, work in ipairs(KEYS) do
  local cursor = '0-0'
  repeat
    if found >= most then break end
    local claimed = redis.call(
      'XAUTOCLAIM', work, '${GROUP}', ARGV[1], ARGV[2], cursor, 'COUNT', most - found
    )
    cursor = claimed[1]
    for _, entry in ipairs(claimed[2]) do
      if entry and entry[2] then
        answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = place, entry[1], entry[2]
        found = found + 1
      else
        vanished = vanished + 1 -- as Redis 6.2 answers in a deleted one's place; 7 lists them behind
      end
    end
    vanished = vanished + #(claimed[3] or {})
  until cursor == '0-0'
end
answer[1] = vanished
return answer
