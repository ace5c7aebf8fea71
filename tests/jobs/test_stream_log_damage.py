"""A log that was damaged, emptied or rolled back is never served or built upon."""

from collections.abc import Callable

import pytest
from redis.exceptions import ResponseError

from jobs import keys
from jobs.stream_log import (
    LogPage,
)
from tests.jobs.log_appends import APPLIED, GAP, THERE, append, frames, one, told
from tests.jobs.log_rig import NAME, open_rig
from tests.services import RedisServer


@pytest.mark.parametrize("lost", [1, 3, 5])
async def test_a_log_with_a_hole_is_dropped_and_asked_for_again(redis_url: str, lost: int) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, 5))
        await rig.redis.xdel(keys.log(NAME), f"1-{lost}")
        outcome, attempt, seq = await one(rig, append(6, 6))
        assert outcome is GAP
        assert (attempt, seq) in ((0, 0), (1, 4))
        if seq:
            # The tail itself is gone, and Redis takes no entry under an id it had before.
            assert await one(rig, append(5, 6)) == (GAP, 0, 0)
        assert await one(rig, append(1, 6)) == (APPLIED, 1, 6)
        assert await rig.stored() == frames(1, 6)


async def test_an_emptied_stream_is_seeded_anew(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, 5))
        await rig.redis.xtrim(keys.log(NAME), maxlen=0, approximate=False)
        assert await one(rig, append(6, 6)) == (GAP, 0, 0)
        assert (await one(rig, append(1, 6)))[0] is GAP
        assert await one(rig, append(1, 6)) == (APPLIED, 1, 6)
        assert await rig.stored() == frames(1, 6)


async def test_one_broken_log_does_not_stop_the_others(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await rig.redis.set(keys.log("gen_a"), "not a stream")
        await one(rig, append(1, 5, name="gen_b"))
        await rig.redis.xtrim(keys.log("gen_b"), maxlen=0, approximate=False)
        names = ("gen_a", "gen_b", "gen_c")
        answers = await rig.stream_log.append([append(1, 1, name=name) for name in names])
        assert [answer.outcome for answer in answers] == [APPLIED, GAP, APPLIED]
        answers = await rig.stream_log.append([append(1, 1, name=name) for name in names])
        assert [answer.outcome for answer in answers] == [THERE, APPLIED, THERE]


async def test_a_full_redis_refuses_and_leaves_the_log_as_it_was(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await one(rig, append(1, 5))
        await told(rig, listener.messages)
        await rig.redis.config_set("maxmemory", 1)
        try:
            for wanted in (append(6, 7), append(1, 1, attempt=2)):
                with pytest.raises(ResponseError, match="maxmemory"):
                    await one(rig, wanted)
        finally:
            await rig.redis.config_set("maxmemory", 0)
        assert await told(rig, listener.messages) == []
        assert await rig.stored() == frames(1, 5)
        assert await one(rig, append(6, 7)) == (APPLIED, 1, 7)


async def test_the_script_is_sent_again_to_a_server_that_forgot_it(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        for seq in range(1, 5):
            await rig.redis.script_flush()
            assert await one(rig, append(seq, seq)) == (APPLIED, 1, seq)
        assert await rig.stored() == frames(1, 4)


@pytest.mark.parametrize("lost", [1, 3, 5])
async def test_a_log_with_a_hole_is_never_served_from_before_it(redis_url: str, lost: int) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, 6))
        await rig.redis.xdel(keys.log(NAME), f"1-{lost}")
        for first in range(1, lost + 1):
            assert await rig.stream_log.read(NAME, 1, first) is None
        assert await rig.stream_log.read(NAME, 1, lost + 1) == LogPage(
            1, lost + 1, frames(lost + 1, 6)
        )


async def test_a_restart_with_an_older_file_is_found_as_a_gap(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(persistence=True)
    async with open_rig(server.url) as rig:
        await one(rig, append(1, 3))
        # The last writes never reached the disk.
        await rig.redis.config_set("appendfsync", "no")
        files = sorted((server.directory / "appendonlydir").glob("*.incr.aof"))
        size = files[-1].stat().st_size
        await one(rig, append(4, 6))
        server.kill()
        with files[-1].open("r+b") as file:
            file.truncate(size)
        server.restart(keep_data=True)
        assert await rig.stream_log.tail(NAME) == (1, 3)
        assert await one(rig, append(7, 7)) == (GAP, 1, 3)
        assert await one(rig, append(4, 7)) == (APPLIED, 1, 7)
        assert await rig.stored() == frames(1, 7)
