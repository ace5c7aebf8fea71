"""Logs at rest are compared by their lengths, many in one call; what differs is looked at."""

from collections.abc import Callable

import pytest

from jobs import keys
from jobs.events import Notice, token_text
from jobs.publisher import LOGS_A_FLUSH
from jobs.touch import touch
from tests.jobs.log_rig import NAME, Rig, open_rig
from tests.services import RedisServer
from tests.services.tallies import commands

SEVERAL = LOGS_A_FLUSH + 1


async def at_rest(rig: Rig, number: int) -> None:
    """So many logs that have a word each, and whose times to live were just set."""
    for one in range(number):
        rig.start(f"gen_{one}").append_text("x")
    rig.publisher.touch()
    assert await rig.publisher.drain(5)
    await touch(rig.publisher, rig.stream_log)
    await commands(rig.redis)


async def test_logs_at_rest_cost_no_flush_and_few_calls(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await at_rest(rig, SEVERAL)
        flushes = rig.publisher.counts.flushes
        for _ in range(3):
            await touch(rig.publisher, rig.stream_log)
            assert await rig.publisher.drain(5)
        asked = await commands(rig.redis)
        assert (asked["evalsha"], asked["xlen"]) == (6, 3 * SEVERAL)
        assert rig.publisher.counts.flushes == flushes


@pytest.mark.parametrize("damage", ["DEL", "XDEL", "XADD", "SET"])
async def test_one_damaged_log_among_many_is_mended(redis_url: str, damage: str) -> None:
    async with open_rig(redis_url) as rig:
        await at_rest(rig, 20)
        name = keys.log("gen_7")
        match damage:
            case "DEL":
                await rig.redis.delete(name)
            case "XDEL":
                await rig.redis.xdel(name, "1-1")
            case "XADD":
                await rig.redis.xadd(name, {"f": "of nobody"}, "1-9")
            case "SET":
                await rig.redis.set(name, "what is this")
        flushes = rig.publisher.counts.flushes
        await touch(rig.publisher, rig.stream_log)
        assert await rig.publisher.drain(5)
        assert rig.publisher.counts.flushes > flushes
        if damage != "XADD":
            assert rig.publisher.counts.reseeds == 1
            assert [token_text(one) for one in await rig.stored("gen_7")] == ["x"]


async def test_what_waits_to_leave_and_later_attempts_are_not_taken_for_whole(
    redis_url: str,
) -> None:
    async with open_rig(redis_url) as rig:
        first, second = rig.start("gen_first"), rig.start("gen_second", attempt=2)
        assert rig.publisher.at_rest() == {}
        first.append_text("x")
        second.append_text("x")
        assert await rig.publisher.drain(5)
        assert rig.publisher.at_rest() == {"gen_first": 1}
        first.append("notice", Notice("n", "y"))
        assert rig.publisher.at_rest() == {}
        assert await rig.publisher.drain(5)
        assert rig.publisher.at_rest() == {"gen_first": 2}


async def test_a_log_that_is_whole_lives_on_when_that_is_due(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(redis_url, ttl_seconds=100) as rig:
        await at_rest(rig, 20)
        later = rig.publisher._loop.time() + 100 / 6
        monkeypatch.setattr(rig.publisher, "_refresh_at", later - 100 / 6)
        await touch(rig.publisher, rig.stream_log)
        assert await rig.publisher.drain(5)
        assert (await commands(rig.redis))["pexpire"] == 20


async def test_all_that_a_redis_lost_while_it_was_away_is_seeded_anew(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    async with open_rig(redis.url) as rig:
        rig.start().append_text("all there is")
        assert await rig.publisher.drain(5)
        redis.kill()
        await touch(rig.publisher, rig.stream_log)
        assert not await rig.publisher.drain(0.2)
        assert rig.publisher.counts.failures
        redis.restart(keep_data=False)
        assert await rig.publisher.drain(10)
        assert [token_text(one) for one in await rig.stored(NAME)] == ["all there is"]
