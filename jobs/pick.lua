-- Takes jobs that are due from arq's queue, each for one worker, in one call.
--
-- KEYS: the queue. ARGV: now in ms, how many at most, how many to look at, ms after which a job that
-- was taken and never finished is free again, arq's prefix of in-progress keys, of job keys, and the
-- jobs that are left to others.
-- Replies {the jobs taken, each {id, score, payload or false}; 1 when there were more than asked
-- for}. What runs elsewhere stays in the queue until it is finished, as arq has it.
local taken, more, left = {}, 0, {}
for i = 7, #ARGV do
  left[ARGV[i]] = true
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #ids, 2 do
  local mark = ARGV[5] .. ids[i]
  if not left[ids[i]] and redis.call('EXISTS', mark) == 0 then
    if #taken >= tonumber(ARGV[2]) then
      more = 1
      break
    end
    redis.call('PSETEX', mark, ARGV[4], '1')
    taken[#taken + 1] = { ids[i], ids[i + 1], redis.call('GET', ARGV[6] .. ids[i]) }
  end
end
return { taken, more }
