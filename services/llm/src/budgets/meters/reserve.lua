-- Reserves all lines or none. ARGV: holder, an epoch for meters that begin, then for each key: kind (w: a window, s: a
-- window that must have been seeded, p: places), limit, amount, end of the window or length of the lease.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function of(i, field) return ARGV[2 + (i - 1) * 4 + field] end
local missing = { 'U' }
for i, key in ipairs(KEYS) do
  if of(i, 1) == 's' and redis.call('HEXISTS', key, 'e') == 0 then missing[#missing + 1] = tostring(i - 1) end
end
if #missing > 1 then return missing end
for i, key in ipairs(KEYS) do
  local used
  if of(i, 1) == 'p' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    used = redis.call('ZCARD', key)
  else
    used = tonumber(redis.call('HGET', key, 'u') or '0')
  end
  if used + tonumber(of(i, 3)) > tonumber(of(i, 2)) then
    return { 'R', tostring(i - 1), string.format('%.0f', used) }
  end
end
local granted = { 'G' }
for i, key in ipairs(KEYS) do
  if of(i, 1) == 'p' then
    local lease = tonumber(of(i, 4))
    redis.call('ZADD', key, now + lease, ARGV[1])
    redis.call('PEXPIRE', key, lease)
    granted[#granted + 1] = '0'
  else
    redis.call('HINCRBY', key, 'u', of(i, 3))
    redis.call('HSETNX', key, 'e', ARGV[2])
    redis.call('PEXPIREAT', key, of(i, 4))
    granted[#granted + 1] = redis.call('HGET', key, 'e')
  end
end
return granted
