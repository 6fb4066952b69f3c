-- KEYS: lists, values. ARGV: namespace, key. Gives list and record, of one moment.
local list = redis.call('HGET', KEYS[1], ARGV[1])
if not list then return {false, false} end
return {list, redis.call('HGET', KEYS[2], ARGV[2])}
