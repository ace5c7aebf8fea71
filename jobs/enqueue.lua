-- Puts jobs in arq's queue, or makes them due sooner, by the clock of Redis: that of no other machine.
--
-- KEYS: the queue, the idle workers. ARGV: arq's prefix of job keys, ms after which a job that nobody
-- took is gone, ms for which a worker counts as idle, and per job its id, its payload, and in how many
-- ms it is due. What is due at once wakes the workers; a single job is given to an idle one alone,
-- without a mark: if that worker is frozen, others find the job when they next look.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at_once = false
for i = 4, #ARGV, 3 do
  redis.call('SET', ARGV[1] .. ARGV[i], ARGV[i + 1], 'NX', 'PX', ARGV[2])
  -- LT: one that is there already stays due as soon as it was.
  redis.call('ZADD', KEYS[1], 'LT', now + ARGV[i + 2], ARGV[i])
  at_once = at_once or ARGV[i + 2] == '0'
end
local heard = 0
if at_once and #ARGV == 6 then
  local idle = redis.call('ZRANGEBYSCORE', KEYS[2], now - ARGV[3], '+inf')
  if #idle > 0 then
    local worker = idle[1 + time[2] % #idle]
    heard = redis.call('PUBLISH', KEYS[1] .. ':' .. worker, ARGV[4] .. ' ' .. ARGV[5])
    if heard == 0 then
      redis.call('ZREM', KEYS[2], worker)
    end
  end
end
if at_once and heard == 0 then
  redis.call('PUBLISH', KEYS[1], '')
end
