-- KEYS: lists. ARGV: namespace, basis, new list.
local list = redis.call('HGET', KEYS[1], ARGV[1])
if not decided(list, ARGV[2]) then return 'moved' end
if not list then return 'none' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'done'
