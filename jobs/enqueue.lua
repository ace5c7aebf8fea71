-- Puts jobs in arq's queue, or makes them due sooner, by the clock of Redis: that of no other machine.
--
-- KEYS: the queue. ARGV: arq's prefix of job keys, ms after which a job that nobody took is gone, and
-- per job its id, its payload, and in how many ms it is due. What is due at once wakes the workers.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at_once = false
for i = 3, #ARGV, 3 do
  redis.call('SET', ARGV[1] .. ARGV[i], ARGV[i + 1], 'NX', 'PX', ARGV[2])
  -- LT: one that is there already stays due as soon as it was.
  redis.call('ZADD', KEYS[1], 'LT', now + ARGV[i + 2], ARGV[i])
  at_once = at_once or ARGV[i + 2] == '0'
end
if at_once then
  redis.call('PUBLISH', KEYS[1], '')
end
