"""Checks of Redis: there, new enough, keeps what it is given, evicts nothing, buffers enough.

What a restart loses is mended by workers and rescuers, which readers may see as a pause; evictions
would go on tearing holes into logs that are being read.
"""

import re
import time
from typing import Any

from redis.asyncio import Redis

from jobs.redis_link import REDIS_FAILURES, open_redis
from relay.commands.checks import Finding, clock, ok, problem, warning

OLDEST = (6, 2)
SMALLEST_BUFFER = 8 * 1024 * 1024


async def check_redis(url: str) -> list[Finding]:
    """Everything about the Redis at this address."""
    try:
        async with open_redis(url, connections=1) as redis:
            info: dict[str, Any] = await redis.info()
            # Connected by now: what that took would count as a difference of clocks.
            before = time.time()
            seconds, microseconds = await redis.time()
            middle = (before + time.time()) / 2
            pubsub = await _config(redis, "client-output-buffer-limit")
            snapshots = await _config(redis, "save")
    except REDIS_FAILURES as error:
        return [
            problem(
                "redis",
                f"not reachable: {str(error) or type(error).__name__}",
                "start Redis or Valkey, or set RELAY_REDIS_URL",
            )
        ]
    return [
        _version(info),
        *_role(info),
        _persistence(info, snapshots),
        _eviction(info),
        *_memory(info),
        _buffer(pubsub),
        clock("redis clock", seconds + microseconds / 1e6 - middle),
    ]


async def _config(redis: Redis, name: str) -> str | None:
    """A setting, or None where the server does not tell it (managed ones often don't)."""
    try:
        found: dict[str, str] = await redis.config_get(name)
    except REDIS_FAILURES:
        return None
    return found.get(name)


def _version(info: dict[str, Any]) -> Finding:
    text = str(info.get("redis_version", "?"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {text}"
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers < OLDEST:
        return problem("redis", f"{name} is too old", "run Redis 6.2 or newer, or Valkey")
    return ok("redis", f"{name} answers")


def _role(info: dict[str, Any]) -> list[Finding]:
    if info.get("role") != "slave" or not info.get("slave_read_only"):
        return []
    found = "it is a replica, which takes no writes"
    return [problem("redis role", found, "set RELAY_REDIS_URL to its primary")]


def _persistence(info: dict[str, Any], snapshots: str | None) -> Finding:
    check, advice = "redis persistence", "set `appendonly yes` (appendfsync everysec)"
    if info.get("loading"):
        return warning(check, "it is loading its data", "wait, and look again")
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return problem(check, "its last write failed", "look at its disk and its log")
        return ok(check, "appendonly is on")
    if snapshots != "":
        found = "appendonly is off: a restart loses what is newer than the last snapshot"
        return warning(check, found, advice)
    found = "it keeps nothing: a restart loses the queue and the logs of what runs"
    return problem(check, found, advice)


def _eviction(info: dict[str, Any]) -> Finding:
    check, policy = "redis eviction", info.get("maxmemory_policy")
    if policy is None:
        return warning(check, "it does not tell its policy", "see that it is noeviction")
    if policy != "noeviction":
        return problem(
            check,
            f"maxmemory-policy is {policy}: under pressure it deletes logs that are being read",
            "set `maxmemory-policy noeviction`",
        )
    return ok(check, "maxmemory-policy is noeviction")


def _memory(info: dict[str, Any]) -> list[Finding]:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most or used < most * 0.9:
        return []
    return [
        warning(
            "redis memory",
            f"{used / most:.0%} of maxmemory is used: a full one refuses events",
            "raise maxmemory, or lower RELAY_LOG_TTL_SECONDS",
        )
    ]


def _buffer(setting: str | None) -> Finding:
    check = "redis pub/sub buffer"
    match = re.search(r"pubsub (\d+) (\d+) (\d+)", setting or "")
    if match is None:
        return warning(
            check,
            "it does not tell its client-output-buffer-limit",
            "see that pubsub clients may have 32 MB",
        )
    hard, soft, seconds = (int(number) for number in match.groups())
    limits = f"{_size(hard)}, or {_size(soft)} for {seconds} s"
    low = min((limit for limit in (hard, soft) if limit), default=0)
    if low and low < SMALLEST_BUFFER:
        return problem(
            check,
            f"pubsub clients may have {limits}: relays are cut off under load",
            "set `client-output-buffer-limit pubsub 32mb 8mb 60` or more",
        )
    if not hard:
        return warning(
            check,
            "pubsub clients may have any amount: one relay that hangs can fill its memory",
            "set `client-output-buffer-limit pubsub 32mb 8mb 60`",
        )
    return ok(check, f"pubsub clients may have {limits}")


def _size(number: int) -> str:
    return f"{number / 1024 / 1024:g} MB" if number else "any amount"
