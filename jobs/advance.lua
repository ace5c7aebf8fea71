-- Moves running logs on by one frame each, where that is all there is to do; the rest it leaves.
--
-- KEYS: one stream a log. ARGV, per log: channel, id of the frame's entry, how many entries stand
-- before it, head of the message, the frame; without a frame it only looks whether so many entries
-- are there. Replies the numbers of the logs that it left as they are: `append.lua` is to say what
-- is wrong with them.
--
-- Only for first attempts: their logs are dense from 1, so that a log's length tells what its tail is;
-- XADD refuses an entry of an attempt that is not the newest.
local left, a = {}, 1
for i, key in ipairs(KEYS) do
  local there, frame = redis.pcall('XLEN', key) == tonumber(ARGV[a + 2]), ARGV[a + 4]
  if there and frame ~= '' then
    there = type(redis.pcall('XADD', key, ARGV[a + 1], 'f', frame)) == 'string'
    if there then
      redis.call('PUBLISH', ARGV[a], ARGV[a + 3] .. frame)
    end
  end
  if not there then
    left[#left + 1] = i
  end
  a = a + 5
end
return left
