-- Takes jobs that are due from arq's queue, each for one worker, in one call.
--
-- KEYS: the queue, the idle workers. ARGV: how many at most, how many to look at, ms after which a job that was taken
-- and never finished is free again, arq's prefix of in-progress keys, of job keys, the worker that
-- asks, and the jobs that it is not to be given: those that it has in hand, has failed with, or leaves
-- to others.
-- Replies {the jobs taken, each {id, payload or false}; 1 when there were more than asked for}. What
-- is due is so by the clock of Redis, which the score was set by. What runs elsewhere stays in the
-- queue until it is finished, as arq has it. What is marked as this worker's was taken by a call
-- whose reply it never got, and is taken again. Who finds less than it asked for is idle.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken, more, left = {}, 0, {}
for i = 7, #ARGV do
  left[ARGV[i]] = true
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local mark = ARGV[4] .. id
  local by = not left[id] and (redis.call('GET', mark) or ARGV[6])
  if by == ARGV[6] then
    if #taken >= tonumber(ARGV[1]) then
      more = 1
      break
    end
    redis.call('PSETEX', mark, ARGV[3], ARGV[6])
    taken[#taken + 1] = { id, redis.call('GET', ARGV[5] .. id) }
  end
end
if more == 0 and #taken < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[2], now, ARGV[6])
else
  redis.call('ZREM', KEYS[2], ARGV[6])
end
-- Those that have died.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 60000)
return { taken, more }
