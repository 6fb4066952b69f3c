-- KEYS: values, keys, ends, books. ARGV: namespace, now, then keys whose ends were marked as past. What the record
-- itself says counts: a mark may be of a value that is gone. Gives how many values went.
local namespace, now, gone, bytes = ARGV[1], tonumber(ARGV[2]), 0, 0
for n = 3, #ARGV do
  local key = ARGV[n]
  local record = redis.call('HGET', KEYS[1], key)
  local etag, expires
  if record then etag, expires = brief(record) end
  if not record or expires == nil then
    redis.call('ZREM', KEYS[3], namespace .. '\n' .. key)
  elseif not is_live(expires, now) then
    redis.call('HDEL', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('ZREM', KEYS[3], namespace .. '\n' .. key)
    gone = gone + 1
    bytes = bytes + size(record) + #key
  end
end
redis.call('HINCRBY', KEYS[4], 'items', 0 - gone)
redis.call('HINCRBY', KEYS[4], 'bytes', 0 - bytes)
return gone
