-- Begins a window with what was used before, if it is not there. ARGV: used, end, epoch.
if redis.call('HSETNX', KEYS[1], 'e', ARGV[3]) == 1 then
  redis.call('HSET', KEYS[1], 'u', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
  return 1
end
return 0
