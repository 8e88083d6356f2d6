-- Of a work stream: how many of its jobs somebody holds, and the last entry that somebody was given.
local function delivered(work)
  local groups = redis.pcall('XINFO', 'GROUPS', work)
  for _, group in ipairs(groups.err and {} or groups) do
    local fields = {}
    for at = 1, #group, 2 do fields[group[at]] = group[at + 1] end
    if fields['name'] == '${GROUP}' then return fields['pending'], fields['last-delivered-id'] end
  end
  return 0, '0-0'
end
