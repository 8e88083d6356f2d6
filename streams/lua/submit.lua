-- Adds a job once. KEYS: work stream. ARGV: request, key id, sealed job, deadline ms, kept until ms, bound (0 = none),
-- then the frames that the gateway has seen (when it puts back what a restarted Redis lost).
-- Answers {'added', entry} · {'known'} · {'full', length, jobs that have ended so far}.
local request = ARGV[1]
if redis.call('EXISTS', '${ENDED}' .. request) == 1 then return {'known'} end

-- A token log is only topped up while nobody holds the request: its holder tops it up itself.
local function top_up()
  if #ARGV < 7 or redis.call('EXISTS', '${CLAIM}' .. request) == 1 then return end
  local log = '${TOKENS}' .. request
  for i = 7 + redis.call('LLEN', log), #ARGV do redis.call('RPUSH', log, ARGV[i]) end
  redis.call('PEXPIREAT', log, ARGV[5])
end

if redis.call('EXISTS', '${QUEUED}' .. request) == 1 then
  top_up()
  return {'known'}
end
local bound, length = tonumber(ARGV[6]), redis.call('XLEN', KEYS[1])
if bound > 0 and length >= bound then
  return {'full', length, tonumber(redis.call('HGET', '${LEFT}', KEYS[1]) or 0)}
end
local entry = redis.call('XADD', KEYS[1], '*', 'id', request, 'k', ARGV[2], 'job', ARGV[3], 'deadline', ARGV[4])
redis.call('SET', '${QUEUED}' .. request, entry, 'PXAT', ARGV[5])
top_up()
return {'added', entry}
