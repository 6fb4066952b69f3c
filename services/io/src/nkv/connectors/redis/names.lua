-- KEYS: lists, names. ARGV: after, limit and one. Gives names and lists by turns.
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local answer = {}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], from, '+', 'LIMIT', 0, tonumber(ARGV[2]))) do
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGET', KEYS[1], name)
end
return answer
