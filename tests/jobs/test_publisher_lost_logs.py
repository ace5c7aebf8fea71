"""Whatever Redis forgets of a log, its writer puts back: the same ids and bytes, never a hole."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from jobs import keys
from jobs.events import Notice, token_text
from jobs.redis_link import open_redis
from tests.jobs.log_rig import NAME, open_rig
from tests.jobs.log_story import assert_told, finished, write_some
from tests.services import DelayingProxy, RedisServer, eventually

StartRedis = Callable[..., RedisServer]


async def test_a_log_that_redis_forgets_again_and_again_never_has_a_hole(redis_url: str) -> None:
    chance = random.Random(7)
    async with open_rig(redis_url, flush_ms=2) as rig, open_redis(redis_url) as raw:
        listener = await rig.listen()
        log = rig.start()
        over_ = asyncio.Event()
        looks = 0

        async def look() -> None:
            nonlocal looks
            while not over_.is_set():
                ids = [entry_id for entry_id, _ in await raw.xrange(keys.log(NAME))]
                assert ids == [b"1-%d" % seq for seq in range(1, len(ids) + 1)]
                looks += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            for number in range(3000):
                write_some(log, chance, number)
                if number % 500 == 250:
                    await raw.flushall()
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            stored = await finished(rig, log)
            over_.set()
        assert rig.publisher.counts.reseeds >= 4
        assert looks > 20
        await eventually(lambda: listener.messages[-1].terminal)
        assert_told(listener, stored)


async def test_a_log_cut_back_to_an_earlier_state_is_filled_up(redis_url: str) -> None:
    chance = random.Random(11)
    async with open_rig(redis_url) as rig:
        log = rig.start()
        for kept in (0, 1, 37, 99):
            for number in range(100):
                write_some(log, chance, number)
                await asyncio.sleep(0)
            assert await rig.publisher.drain(5)
            entries = await rig.redis.xrange(keys.log(NAME))
            await rig.redis.delete(keys.log(NAME))
            for entry_id, fields in entries[:kept]:
                await rig.redis.xadd(keys.log(NAME), fields, id=entry_id)
        await finished(rig, log)
        assert rig.publisher.counts.reseeds == 4


@pytest.mark.parametrize("damage", ["XDEL", "XTRIM", "SET"])
async def test_a_log_that_was_damaged_is_mended(redis_url: str, damage: str) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        for number in range(9):
            log.append("notice", Notice("n", str(number)))
        assert await rig.publisher.drain(5)
        name = keys.log(NAME)
        match damage:
            case "XDEL":
                await rig.redis.xdel(name, "1-4", "1-9")
            case "XTRIM":
                await rig.redis.xtrim(name, maxlen=3, approximate=False)
            case "SET":
                await rig.redis.set(name, "what is this")
        rig.publisher.touch()
        assert await rig.publisher.drain(5)
        assert rig.publisher.counts.reseeds == 1
        assert len(await rig.stored()) == 9


async def test_a_lost_log_is_found_in_silence_and_announced_on_request(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        log = rig.start()
        log.append_text("all there is")
        assert await rig.publisher.drain(5)
        await rig.redis.flushall()
        rig.publisher.touch()
        assert await rig.publisher.drain(5)
        assert [token_text(one) for one in await rig.stored()] == ["all there is"]
        await rig.redis.flushall()
        rig.publisher.check(NAME)
        assert await rig.publisher.drain(5)
        assert [token_text(one) for one in await rig.stored()] == ["all there is"]
        await eventually(lambda: len(listener.messages) == 4)
        assert [(one.first, one.last) for one in listener.messages] == [
            (1, 1), (1, 1), (1, 1), (2, 1),
        ]  # fmt: skip
        assert rig.publisher.counts.reseeds == 2


async def test_a_restarted_redis_without_its_data_gets_all_of_it_again(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with open_rig(server.url) as rig:
        log = rig.start()
        for number in range(1200):
            log.append("notice", Notice("n", str(number)))
        assert await rig.publisher.drain(5)
        server.kill()
        log.append_text("while it is away")
        await eventually(lambda: rig.publisher.counts.failures > 0)
        server.restart(keep_data=False)
        log.append_text(" and after")
        stored = await finished(rig, log)
        assert len(stored) >= 1202
        assert rig.publisher.counts.reseeds >= 1


@asynccontextmanager
async def storms(proxy: DelayingProxy, url: str) -> AsyncIterator[None]:
    """Cuts all connections and forgets data and scripts, now and then, for a while."""
    over_ = asyncio.Event()
    chance = random.Random(3)

    async def storm() -> None:
        async with open_redis(url, connections=1) as raw:
            while not over_.is_set():
                await asyncio.sleep(chance.uniform(0.02, 0.1))
                match chance.choice(["cut", "cut", "flush", "script"]):
                    case "cut":
                        proxy.abort()
                    case "flush":
                        await raw.flushall()
                    case "script":
                        await raw.script_flush()

    task = asyncio.create_task(storm())
    try:
        yield
    finally:
        over_.set()
        await task


async def _many_writers_in_a_storm(url: str) -> None:
    chance = random.Random(5)
    async with (
        DelayingProxy.before(url, up_ms=2, down_ms=2) as proxy,
        open_rig(proxy.url(url), flush_ms=2) as rig,
    ):
        listener = await rig.listen("gen_0")
        logs = [rig.start(f"gen_{n}") for n in range(10)]
        async with storms(proxy, url):
            for number in range(400):
                for log in logs:
                    write_some(log, chance, number)
                await asyncio.sleep(0.004)
        assert proxy.counts.resets > 3
        assert rig.publisher.counts.failures > 0
        assert rig.publisher.counts.reseeds > 0
        assert rig.pubsub.connections > 1
        for log in logs:
            stored = await finished(rig, log)
            if log is logs[0]:
                assert_told(listener, stored)


async def test_many_writers_in_a_storm_of_faults_lose_and_change_nothing(redis_url: str) -> None:
    await _many_writers_in_a_storm(redis_url)


def test_the_same_holds_on_uvloop(redis_url: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_many_writers_in_a_storm(redis_url))
