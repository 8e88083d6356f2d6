-- Adds a job once. KEYS: its work stream, then all work streams of its class, whose jobs together the bound bounds.
-- ARGV: request, key id, sealed job, deadline ms, kept until ms, bound (0 = none), token cost,
-- then the frames that the gateway has seen (when it puts back what a restarted Redis lost).
-- Answers {'added', entry} · {'known'} · {'full', jobs of the class, those that have ended so far}.
local request = ARGV[1]
if redis.call('EXISTS', '${ENDED}' .. request) == 1 then return {'known'} end

-- A token log is only topped up while nobody holds the request: its holder tops it up itself.
local function top_up()
  if #ARGV < 8 or redis.call('EXISTS', '${CLAIM}' .. request) == 1 then return end
  local log = '${TOKENS}' .. request
  for i = 8 + redis.call('LLEN', log), #ARGV do redis.call('RPUSH', log, ARGV[i]) end
  redis.call('PEXPIREAT', log, ARGV[5])
end

if redis.call('EXISTS', '${QUEUED}' .. request) == 1 then
  top_up()
  return {'known'}
end
local bound, class, length, left = tonumber(ARGV[6]), {unpack(KEYS, 2)}, 0, 0
if bound > 0 then
  for _, work in ipairs(class) do length = length + redis.call('XLEN', work) end
  if length >= bound then
    for _, ended in ipairs(redis.call('HMGET', '${LEFT}', unpack(class))) do left = left + tonumber(ended or 0) end
    return {'full', length, left}
  end
end
local entry = redis.call(
  'XADD', KEYS[1], '*', 'id', request, 'k', ARGV[2], 'job', ARGV[3], 'deadline', ARGV[4], '${COST_FIELD}', ARGV[7]
)
redis.call('SET', '${QUEUED}' .. request, entry, 'PXAT', ARGV[5])
top_up()
return {'added', entry}
