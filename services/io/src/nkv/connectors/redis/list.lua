-- KEYS: lists, values, keys. ARGV: namespace, prefix, after, limit, budget in bytes, now, most keys to look at.
-- Gives the list, where to go on ('' at the end), and keys with their records by turns. Keys are compared byte by
-- byte over a sorted set: nothing in them is a pattern (H28).
local list = redis.call('HGET', KEYS[1], ARGV[1])
if not list then return {false, ''} end
local prefix, after = ARGV[2], ARGV[3]
local limit, budget, now, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local from = '[' .. prefix
if after ~= '' and after >= prefix then from = '(' .. after end
local answer, found, used, looked = {list, ''}, 0, 0, 0
local last = after
while true do
  local keys = redis.call('ZRANGEBYLEX', KEYS[3], from, '+', 'LIMIT', 0, 64)
  if #keys == 0 then return answer end
  for _, key in ipairs(keys) do
    if string.sub(key, 1, #prefix) ~= prefix then return answer end
    if looked == most then
      answer[2] = last
      return answer
    end
    looked = looked + 1
    local record = redis.call('HGET', KEYS[2], key)
    if record then
      local _, expires = brief(record)
      if is_live(expires, now) then
        local bytes = size(record) + #key
        if found == limit or (found > 0 and used + bytes > budget) then
          answer[2] = last
          return answer
        end
        used = used + bytes
        found = found + 1
        answer[#answer + 1] = key
        answer[#answer + 1] = record
      end
    end
    last = key
  end
  from = '(' .. last
end
