-- Seeded by the clock and an address, so that neither two starts nor two workers give the same ids.
math.randomseed(os.time() + (tonumber((tostring({}):match("0x(%x+)") or "0"), 16) or 0) % 2147483647)

local function new_request_id()
  local uuid = ("xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx"):gsub("[xy]", function(place)
    return string.format("%x", place == "x" and math.random(0, 15) or math.random(8, 11))
  end)
  return os.time() .. "," .. uuid
end

-- The id that a client gave its request, where it is one, or a new one.
local function request_id_of(sent)
  if not sent or #sent > 47 or #sent == 0 or sent:find("[^\33-\126]") then
    return new_request_id()
  end
  return sent
end
