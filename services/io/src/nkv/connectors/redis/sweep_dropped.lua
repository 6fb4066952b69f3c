-- KEYS: values and keys of a dropped namespace, ends, books, dropped. ARGV: its mark, most. Gives how many went.
local namespace = redis.call('HGET', KEYS[5], ARGV[1])
if not namespace then return 0 end
local keys = redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[2]) - 1)
local bytes = 0
for _, key in ipairs(keys) do
  local record = redis.call('HGET', KEYS[1], key)
  if record then bytes = bytes + size(record) + #key end
  redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
end
redis.call('HINCRBY', KEYS[4], 'items', 0 - #keys)
redis.call('HINCRBY', KEYS[4], 'bytes', 0 - bytes)
if #keys < tonumber(ARGV[2]) then redis.call('HDEL', KEYS[5], ARGV[1]) end
return #keys
