-- Gives a log to a newer attempt, whole and in one step, if nothing was added to it since it was read.
--
-- KEYS: the stream. ARGV: channel, id of the last entry that was read (0-0 for none), attempt, time to
-- live in ms, how many frames go in a message, the frames from seq 1 on. Replies the id of the last
-- entry that was there: what was read, or else the log is left as it is.
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = found[1] and found[1][1] or '0-0'
if last ~= ARGV[2] then
  return last
end
redis.call('DEL', KEYS[1])
for i = 6, #ARGV do
  redis.call('XADD', KEYS[1], ARGV[3] .. '-' .. i - 5, 'f', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = 6, #ARGV, tonumber(ARGV[5]) do
  local to = math.min(i + tonumber(ARGV[5]) - 1, #ARGV)
  local head = ARGV[3] .. ' ' .. i - 5 .. ' ' .. to - 5 .. ' 0\n'
  redis.call('PUBLISH', ARGV[1], head .. table.concat(ARGV, '', i, to))
end
return last
