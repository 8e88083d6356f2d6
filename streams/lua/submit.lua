-- Adds jobs of one class, each once. KEYS: all work streams of the class, whose jobs together the bound bounds; behind
-- them others that one of the jobs belongs in.
-- ARGV: bound (0 = none), how many of KEYS are the class's; then of each job: which of KEYS is its stream, request,
-- key id, sealed job, deadline ms, kept until ms, token cost, and how many frames follow: those that the gateway has
-- seen, when it puts back what a restarted Redis lost.
-- Answers for each job in turn: {'added', entry} · {'known'} · {'full', jobs of the class, those that have ended so far}.
local bound, class = tonumber(ARGV[1]), {unpack(KEYS, 1, tonumber(ARGV[2]))}
local jobs -- of the class, once they are counted

local function full()
  if bound == 0 then return nil end
  if not jobs then
    jobs = 0
    for _, work in ipairs(class) do jobs = jobs + redis.call('XLEN', work) end
  end
  if jobs < bound then return nil end
  local left = 0
  for _, ended in ipairs(redis.call('HMGET', '${LEFT}', unpack(class))) do left = left + tonumber(ended or 0) end
  return {'full', jobs, left}
end

-- A token log is only topped up while nobody holds the request: its holder tops it up itself.
local function top_up(request, kept_until, first, last)
  if first > last or redis.call('EXISTS', '${CLAIM}' .. request) == 1 then return end
  local log = '${TOKENS}' .. request
  for i = first + redis.call('LLEN', log), last do redis.call('RPUSH', log, ARGV[i]) end
  redis.call('PEXPIREAT', log, kept_until)
end

local function add(work, request, key, sealed, deadline, kept_until, cost, frames, at)
  if redis.call('EXISTS', '${ENDED}' .. request) == 1 then return {'known'} end
  local answer = {'known'}
  if redis.call('EXISTS', '${QUEUED}' .. request) == 0 then
    local refused = full()
    if refused then return refused end
    local entry = redis.call(
      'XADD', work, '*', 'id', request, 'k', key, 'job', sealed, 'deadline', deadline, '${COST_FIELD}', cost
    )
    redis.call('SET', '${QUEUED}' .. request, entry, 'PXAT', kept_until)
    if jobs then jobs = jobs + 1 end
    answer = {'added', entry}
  end
  top_up(request, kept_until, at, at + frames - 1)
  return answer
end

local answers, at = {}, 3
while at <= #ARGV do
  local frames = tonumber(ARGV[at + 7])
  local work = KEYS[tonumber(ARGV[at])]
  local request, key, sealed, deadline, kept_until, cost = unpack(ARGV, at + 1, at + 6)
  answers[#answers + 1] = add(work, request, key, sealed, deadline, kept_until, cost, frames, at + 8)
  at = at + 8 + frames
end
return answers
