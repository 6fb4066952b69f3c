-- Puts what was used in place of what was reserved. ARGV: holder, then for each key: kind, epoch, reserved, used.
for i, key in ipairs(KEYS) do
  local at = 1 + (i - 1) * 4
  if ARGV[at + 1] == 'p' then
    redis.call('ZREM', key, ARGV[1])
  else
    local epoch = redis.call('HGET', key, 'e')
    if epoch then
      local change = tonumber(ARGV[at + 4])
      if epoch == ARGV[at + 2] then change = change - tonumber(ARGV[at + 3]) end
      if redis.call('HINCRBY', key, 'u', string.format('%.0f', change)) < 0 then redis.call('HSET', key, 'u', '0') end
    end
  end
end
return 0
