-- KEYS: the entry, a hash: v value, a access list, m notes, e end ('' for none), t version.
-- ARGV: now, seen ('absent', or '=' and the list), what, then what that needs. The rules are those of `record.rs`.
local now, seen, what = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local found = redis.call('HMGET', KEYS[1], 'a', 'e', 't')
local list, expires, etag = found[1], found[2], found[3]
if list and expires ~= '' and tonumber(expires) <= now then list = false end
if list == false then
  if seen ~= 'absent' then return {'moved'} end
elseif seen ~= '=' .. list then
  return {'moved'}
end

-- The server frees what is over by its own clock; who reads looks at the end that the record says.
local function ends(at)
  if at == '' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIREAT', KEYS[1], at) end
end

if what == 'set' then
  -- value, version, end, notes, list of a new entry, condition
  local condition = ARGV[9]
  if condition == 'absent' and list then return {'unheld'} end
  if condition == 'present' and not list then return {'unheld'} end
  if string.sub(condition, 1, 1) == '=' and (not list or condition ~= '=' .. etag) then return {'unheld'} end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', ARGV[4], 't', ARGV[5], 'e', ARGV[6], 'm', ARGV[7], 'a', list or ARGV[8])
  ends(ARGV[6])
  return {'done'}
elseif what == 'add' then
  -- delta, version, end of a new entry, list of a new entry. HINCRBY counts in 64 bits; numbers of Lua do not.
  if not list then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'v', ARGV[4], 't', ARGV[5], 'e', ARGV[6], 'm', '{}', 'a', ARGV[7])
    ends(ARGV[6])
    return {'sum', ARGV[4]}
  end
  local sum = redis.pcall('HINCRBY', KEYS[1], 'v', ARGV[4])
  if type(sum) == 'table' and sum.err then
    if string.find(sum.err, 'overflow', 1, true) then return {'overflow'} end
    return {'word'}
  end
  redis.call('HSET', KEYS[1], 't', ARGV[5])
  return {'sum', redis.call('HGET', KEYS[1], 'v')}
end

if not list then return {'absent'} end
if what == 'delete' then
  redis.call('UNLINK', KEYS[1])
elseif what == 'take' then
  local record = redis.call('HMGET', KEYS[1], 'v', 'a', 'm', 'e', 't')
  redis.call('UNLINK', KEYS[1])
  table.insert(record, 1, 'taken')
  return record
elseif what == 'touch' then
  redis.call('HSET', KEYS[1], 'e', ARGV[4])
  ends(ARGV[4])
elseif what == 'list' then
  redis.call('HSET', KEYS[1], 'a', ARGV[4])
elseif what == 'notes' then
  if redis.call('HGET', KEYS[1], 'm') ~= ARGV[4] then return {'moved'} end
  redis.call('HSET', KEYS[1], 'm', ARGV[5])
end
return {'done'}
