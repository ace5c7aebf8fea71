-- Replies the numbers of the logs that have not as many entries as they should, or are none.
--
-- KEYS: one stream a log. ARGV: how many entries each should have.
local others = {}
for i, key in ipairs(KEYS) do
  if redis.pcall('XLEN', key) ~= tonumber(ARGV[i]) then
    others[#others + 1] = i
  end
end
return others
