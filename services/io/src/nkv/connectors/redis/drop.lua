-- KEYS: lists, names, values, keys, dropped, then where values and keys go. ARGV: namespace, basis.
-- The values are renamed, not deleted: one step whatever the namespace holds. The sweeper has them next.
local list = redis.call('HGET', KEYS[1], ARGV[1])
if not decided(list, ARGV[2]) then return 'moved' end
if not list then return 'none' end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('RENAME', KEYS[3], KEYS[6])
  redis.call('RENAME', KEYS[4], KEYS[7])
  redis.call('HSET', KEYS[5], ARGV[3], ARGV[1])
end
return 'done'
