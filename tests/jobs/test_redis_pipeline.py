"""Callers that share a connection get their own replies, and none waits for a dead one for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from jobs import redis_pipeline
from jobs.redis_link import REDIS_FAILURES
from jobs.redis_pipeline import Command, RedisPipeline, open_pipeline
from jobs.redis_script import Script
from jobs.redis_wire import Address
from tests.services import DelayingProxy, RedisServer, eventually, free_port

StartRedis = Callable[..., RedisServer]


async def test_callers_at_the_same_time_share_one_connection_and_get_their_own_replies(
    redis_url: str,
) -> None:
    async with open_pipeline(Address.of_url(redis_url)) as redis:
        replies = await asyncio.gather(
            *(redis.run(("ECHO", f"a{n}"), ("ECHO", f"b{n}")) for n in range(100))
        )
        assert replies == [[b"a%d" % n, b"b%d" % n] for n in range(100)]
        assert redis.connections == 1


async def test_callers_wait_for_redis_together_and_not_in_turn(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url, down_ms=100) as proxy,
        open_pipeline(Address.of_url(proxy.url(redis_url))) as redis,
    ):
        await redis.call("PING")
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(redis.call("PING") for _ in range(50)))
        assert asyncio.get_running_loop().time() - begun < 50 * 0.1 / 2


async def test_a_refusal_is_raised_once_all_replies_came_and_costs_no_connection(
    redis_url: str,
) -> None:
    async with open_pipeline(Address.of_url(redis_url)) as redis:
        with pytest.raises(ResponseError, match="unknown command"):
            await redis.run(("SET", "k", "1"), ("NONSENSE",), ("SET", "k", "2"))
        with pytest.raises(NoScriptError):
            await redis.call("EVALSHA", "0" * 40, 0)
        assert await redis.call("GET", "k") == b"2"
        assert redis.connections == 1


async def test_a_script_that_redis_forgot_is_sent_again(redis_url: str) -> None:
    async with open_pipeline(Address.of_url(redis_url)) as redis:
        script = Script("return {KEYS[1], ARGV[1]}", redis.call)
        for _ in range(2):
            assert await script.run(["key"], 7) == [b"key", b"7"]
            await redis.call("SCRIPT", "FLUSH")


async def test_a_cancelled_call_leaves_its_reply_to_nobody(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url, down_ms=20) as proxy,
        open_pipeline(Address.of_url(proxy.url(redis_url))) as redis,
    ):
        await redis.call("PING")
        for n in range(5):
            late = asyncio.create_task(redis.call("ECHO", "late"))
            await eventually(lambda: bool(redis._asked))
            late.cancel()
            assert await redis.call("ECHO", f"{n}") == b"%d" % n
        assert redis.connections == 1


async def test_a_lost_connection_fails_all_who_wait_and_the_next_call_makes_another(
    redis_url: str,
) -> None:
    async with (
        DelayingProxy.before(redis_url, down_ms=200) as proxy,
        open_pipeline(Address.of_url(proxy.url(redis_url))) as redis,
    ):
        await redis.call("PING")
        waiting = [asyncio.create_task(redis.call("PING")) for _ in range(3)]
        await eventually(lambda: len(redis._asked) == 3)
        assert proxy.abort() == 1
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in failures] == [RedisConnectionError] * 3
        assert await redis.call("PING") == b"PONG"
        assert redis.connections == 2


async def test_a_frozen_server_is_given_up_in_time_and_its_late_reply_meets_no_other_call(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pipeline, "SILENT_SECONDS", 0.0)
    server = start_redis()
    async with open_pipeline(Address.of_url(server.url)) as redis:
        await redis.call("PING")
        server.freeze()
        with monkeypatch.context() as patch:
            patch.setattr(redis_pipeline, "CALL_TIMEOUT_SECONDS", 0.2)
            with pytest.raises(TimeoutError):
                await redis.call("ECHO", "late")
        server.thaw()
        assert await redis.call("ECHO", "prompt") == b"prompt"


async def test_of_many_calls_to_a_frozen_server_the_first_alone_waits(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = RedisPipeline._ask, 0

    def note(redis: RedisPipeline, commands: Sequence[Command]) -> Awaitable[list[Any]]:
        nonlocal asked
        asked += 1
        return ask(redis, commands)

    monkeypatch.setattr(RedisPipeline, "_ask", note)
    server = start_redis()
    async with open_pipeline(Address.of_url(server.url)) as redis:
        await redis.call("PING")
        server.freeze()
        with monkeypatch.context() as patch:
            patch.setattr(redis_pipeline, "CALL_TIMEOUT_SECONDS", 0.2)
            patch.setattr(redis_pipeline, "SILENT_SECONDS", 60.0)
            asked = 0
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    await redis.call("ECHO", "late")
            assert asked == 1
            # It is tried again, and once it answers all is as before.
            redis._silent_until = 0.0
            patch.setattr(redis_pipeline, "SILENT_SECONDS", 0.2)
            for _ in range(2):
                with pytest.raises(TimeoutError, match=r"^$"):
                    await until_asked(redis)
        server.thaw()
        await asyncio.sleep(1.25 * 0.2)
        assert await redis.call("ECHO", "prompt") == b"prompt"


async def until_asked(redis: RedisPipeline) -> None:
    """Calls until the server itself is asked, and raises what comes of that."""
    while True:
        try:
            await redis.call("PING")
        except TimeoutError as error:
            if "just now" not in str(error):
                raise
            await asyncio.sleep(0.05)


async def test_who_waits_behind_a_call_that_is_given_up_fails_with_it(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pipeline, "SILENT_SECONDS", 0.0)
    server = start_redis()
    async with open_pipeline(Address.of_url(server.url)) as redis:
        await redis.call("PING")
        server.freeze()
        try:
            monkeypatch.setattr(redis_pipeline, "CALL_TIMEOUT_SECONDS", 0.2)
            first = asyncio.create_task(redis.call("ECHO", "first"))
            await eventually(lambda: len(redis._asked) == 1)
            monkeypatch.setattr(redis_pipeline, "CALL_TIMEOUT_SECONDS", 5.0)
            with pytest.raises(RedisConnectionError):
                await redis.call("ECHO", "behind")
            with pytest.raises(TimeoutError):
                await first
        finally:
            server.thaw()
        assert await redis.call("ECHO", "after") == b"after"
        assert redis.connections == 2


async def test_who_gets_no_turn_in_time_fails_and_costs_the_others_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pipeline, "TURN_SECONDS", 0.05)
    async with (
        DelayingProxy.before(redis_url, down_ms=300) as proxy,
        open_pipeline(Address.of_url(proxy.url(redis_url)), at_once=2) as redis,
    ):
        await redis.call("PING")
        asked = [asyncio.create_task(redis.call("PING")) for _ in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[:2] == [b"PONG"] * 2
        assert isinstance(answers[2], TimeoutError)
        assert redis.connections == 1


async def test_nobody_there_is_a_failure() -> None:
    async with open_pipeline(Address.of_url(f"redis://127.0.0.1:{free_port()}/0")) as redis:
        with pytest.raises(REDIS_FAILURES):
            await redis.call("PING")
