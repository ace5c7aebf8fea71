-- Appends to many logs and publishes what was new, each log under the fence of its attempt.
--
-- KEYS: one stream a log. ARGV, per log: channel, attempt, seq of the first frame, time to live in
-- ms (0 leaves it), 1 if the last frame ends the generation, 1 to publish even without frames,
-- number of frames, the frames. Without frames it only looks. Replies per log {outcome, attempt,
-- seq}, the last two being the log's tail afterwards: 1 applied, 0 already there, -1 stale (a newer
-- attempt wrote), -2 gap (what should stand before the first frame is not there).
--
-- A log holds the entries of one attempt, dense from 1: so its length is its tail's seq. One that
-- is otherwise, or takes no entry after its tail, was damaged from outside: it is dropped here, and
-- its writer seeds it anew.
local replies, a = {}, 1
for i, key in ipairs(KEYS) do
  local channel, attempt, first = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local ttl, terminal, announce = ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
  local count = tonumber(ARGV[a + 6])
  a = a + 7
  local tail_attempt, tail_seq = 0, 0
  local tail = redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1)
  if tail.err then
    -- Not a stream: nothing of ours, under a name that is.
    redis.call('DEL', key)
  elseif tail[1] then
    local left, right = string.match(tail[1][1], '^(%d+)-(%d+)$')
    tail_attempt, tail_seq = tonumber(left), tonumber(right)
    if tail_attempt == attempt and redis.call('XLEN', key) ~= tail_seq then
      redis.call('DEL', key)
      tail_attempt, tail_seq = 0, 0
    end
  end
  local have = tail_attempt == attempt and tail_seq or 0
  local last = count > 0 and first + count - 1 or have
  local outcome = 1
  if tail_attempt > attempt then
    outcome = -1
  elseif first > have + 1 then
    outcome = -2
  elseif count > 0 and last <= have then
    outcome = 0
  else
    for seq = have + 1, last do
      local added = redis.pcall('XADD', key, attempt .. '-' .. seq, 'f', ARGV[a + seq - first])
      if type(added) == 'table' then
        if not string.find(added.err, 'equal or smaller', 1, true) then
          return added
        end
        redis.call('DEL', key)
        outcome, tail_attempt, tail_seq = -2, 0, 0
        break
      end
    end
    if outcome == 1 then
      if count > 0 then
        if tail_attempt > 0 and tail_attempt < attempt then
          redis.call('XTRIM', key, 'MINID', attempt .. '-0')
        end
        tail_attempt, tail_seq = attempt, last
      end
      if ttl ~= '0' then
        redis.call('PEXPIRE', key, ttl)
      end
      if count > 0 or announce == '1' then
        local head = attempt .. ' ' .. have + 1 .. ' ' .. last .. ' ' .. terminal .. '\n'
        local new = table.concat(ARGV, '', a + have + 1 - first, a + count - 1)
        redis.call('PUBLISH', channel, head .. new)
      end
    end
  end
  replies[i] = { outcome, tail_attempt, tail_seq }
  a = a + count
end
return replies
