-- KEYS: lists, names, values, keys, ends, books. ARGV: namespace, key, basis, list of a new namespace, condition
-- ('always', 'absent' or '=' and an etag), now, end or '', record, most values, most bytes.
local namespace, key, now = ARGV[1], ARGV[2], tonumber(ARGV[6])
local list = redis.call('HGET', KEYS[1], namespace)
if not decided(list, ARGV[3]) then return 'moved' end
local before = redis.call('HGET', KEYS[3], key)
local etag, old = nil, 0
if before then
  local expires
  etag, expires = brief(before)
  if not is_live(expires, now) then etag = nil end
  old = size(before) + #key
end
local condition = ARGV[5]
if condition == 'absent' then
  if etag then return 'exists' end
elseif condition ~= 'always' then
  if etag == nil or condition ~= '=' .. etag then return 'other' end
end
local more = before and 0 or 1
local growth = size(ARGV[8]) + #key - old
local items = tonumber(redis.call('HGET', KEYS[6], 'items') or 0)
local bytes = tonumber(redis.call('HGET', KEYS[6], 'bytes') or 0)
if (more > 0 and items + more > tonumber(ARGV[9])) or (growth > 0 and bytes + growth > tonumber(ARGV[10])) then
  return 'quota'
end
if not list then
  redis.call('HSET', KEYS[1], namespace, ARGV[4])
  redis.call('ZADD', KEYS[2], 0, namespace)
end
redis.call('HSET', KEYS[3], key, ARGV[8])
redis.call('ZADD', KEYS[4], 0, key)
local mark = namespace .. '\n' .. key
if ARGV[7] == '' then redis.call('ZREM', KEYS[5], mark) else redis.call('ZADD', KEYS[5], ARGV[7], mark) end
redis.call('HINCRBY', KEYS[6], 'items', more)
redis.call('HINCRBY', KEYS[6], 'bytes', growth)
return 'done'
