-- KEYS: lists, values, keys, ends, books. ARGV: namespace, key, basis, condition, now.
local namespace, key = ARGV[1], ARGV[2]
local list = redis.call('HGET', KEYS[1], namespace)
if not decided(list, ARGV[3]) then return 'moved' end
if not list then return 'none' end
local record = redis.call('HGET', KEYS[2], key)
if not record then return 'none' end
local etag, expires = brief(record)
if not is_live(expires, tonumber(ARGV[5])) then return 'none' end
if ARGV[4] == 'absent' then return 'exists' end
if ARGV[4] ~= 'always' and ARGV[4] ~= '=' .. etag then return 'other' end
redis.call('HDEL', KEYS[2], key)
redis.call('ZREM', KEYS[3], key)
redis.call('ZREM', KEYS[4], namespace .. '\n' .. key)
redis.call('HINCRBY', KEYS[5], 'items', -1)
redis.call('HINCRBY', KEYS[5], 'bytes', -(size(record) + #key))
return 'done'
