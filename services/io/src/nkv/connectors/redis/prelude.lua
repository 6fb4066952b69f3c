-- What the scripts of namespaces share. A value's record is one text: "etag;updated;expires;type\n" and then the
-- value's bytes; an absent end is empty. All keys of a team have its hash tag, so that they lie on one node.
local function brief(record)
  local etag, updated, expires = string.match(record, '^([^;]*);([^;]*);([^;]*);')
  return etag, tonumber(expires)
end

local function is_live(expires, now)
  return expires == nil or now < expires
end

-- Bytes of a record's value.
local function size(record)
  return #record - string.find(record, '\n', 1, true)
end

-- Whether the decision still stands: 'absent' for none, '=' and the list for one.
local function decided(list, basis)
  if list == false then return basis == 'absent' end
  return basis == '=' .. list
end
