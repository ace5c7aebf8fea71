"""A call over the publisher's own connection is answered, refused or failed in bounded time."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from redis.exceptions import NoScriptError, ResponseError

from jobs import redis_calls
from jobs.redis_calls import open_calls
from jobs.redis_link import REDIS_FAILURES, open_redis
from jobs.redis_wire import Address
from tests.jobs.log_rig import open_rig
from tests.services import DelayingProxy, Direction, RedisServer, eventually, free_port
from tests.services.tls_front import tls_front

StartRedis = Callable[..., RedisServer]


async def test_calls_are_answered_in_turn_whoever_asks(redis_url: str) -> None:
    async with open_calls(Address.of_url(redis_url)) as calls:
        answers = await asyncio.gather(*(calls.call("ECHO", str(n)) for n in range(100)))
        assert answers == [b"%d" % n for n in range(100)]
        assert await calls.call("SET", b"k", 7) == b"OK"
        assert await calls.call("GET", "k") == b"7"
        assert calls.connections == 1


async def test_a_refusal_is_raised_and_costs_no_connection(redis_url: str) -> None:
    async with open_calls(Address.of_url(redis_url)) as calls:
        with pytest.raises(ResponseError, match="unknown command"):
            await calls.call("NONSENSE")
        with pytest.raises(NoScriptError):
            await calls.call("EVALSHA", "0" * 40, 0)
        assert await calls.call("PING") == b"PONG"
        assert calls.connections == 1


async def test_a_connection_lost_between_two_calls_costs_none_of_them(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_calls(Address.of_url(proxy.url(redis_url))) as calls,
    ):
        await calls.call("PING")
        assert proxy.abort() == 1
        await eventually(lambda: calls._wire is None)
        assert await calls.call("PING") == b"PONG"
        assert calls.connections == 2


@pytest.mark.parametrize("direction", Direction)
async def test_a_connection_lost_during_a_call_fails_it(
    redis_url: str, direction: Direction
) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_calls(Address.of_url(proxy.url(redis_url))) as calls,
    ):
        await calls.call("PING")
        trap = proxy.cut_before(b"marker", direction)
        with pytest.raises(REDIS_FAILURES):
            await calls.call("ECHO", "marker")
        assert trap.sprung == 1
        assert await calls.call("PING") == b"PONG"


async def test_a_call_to_a_frozen_server_ends_in_time_and_its_answer_meets_no_other_call(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "CALL_TIMEOUT_SECONDS", 0.2)
    server = start_redis()
    async with open_calls(Address.of_url(server.url)) as calls:
        await calls.call("PING")
        server.freeze()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await calls.call("ECHO", "late")
        server.thaw()
        assert await calls.call("ECHO", "prompt") == b"prompt"


async def test_a_cancelled_call_leaves_no_answer_behind(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url, down_ms=20) as proxy,
        open_calls(Address.of_url(proxy.url(redis_url))) as calls,
    ):
        await calls.call("PING")
        for n in range(5):
            late = asyncio.create_task(calls.call("ECHO", "late"))
            await eventually(lambda n=n: calls._turn.locked())
            late.cancel()
            assert await calls.call("ECHO", f"{n}") == b"%d" % n


async def test_nobody_there_is_a_failure() -> None:
    async with open_calls(Address.of_url(f"redis://127.0.0.1:{free_port()}/0")) as calls:
        with pytest.raises(REDIS_FAILURES):
            await calls.call("PING")


async def test_calls_go_to_the_database_of_the_address_as_its_user(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    server.command("ACL", "SETUSER", "me", "on", ">pass", "~*", "&*", "+@all")
    server.command("ACL", "SETUSER", "default", "off")
    url = server.url.replace("//", "//me:pass@").replace("/0", "/5")
    async with open_redis(url) as redis, open_calls(Address.of_client(redis)) as calls:
        assert await calls.call("ACL", "WHOAMI") == b"me"
        await calls.call("SET", "where", "here")
        assert await redis.get("where") == b"here"
        assert (await redis.info("keyspace")).keys() == {"db5"}


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_logs_are_written_and_told_over_tls(
    redis_url: str, tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def over_tls() -> None:
        async with (
            tls_front(redis_url, tmp_path) as (port, authority),
            open_rig(f"rediss://localhost:{port}/0?ssl_ca_certs={authority}") as rig,
        ):
            listener = await rig.listen()
            log = rig.start()
            for _ in range(20):
                log.append_text("x" * 100_000)
                assert await rig.publisher.drain(5)
            await eventually(lambda: len(listener.messages) == 20)
            assert listener.frames == b"".join(await rig.stored())

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(over_tls())


async def test_after_a_restart_no_pooled_connection_fails_a_command(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with open_redis(server.url) as redis:
        await asyncio.gather(*(redis.ping() for _ in range(10)))
        server.restart(keep_data=False)
        await asyncio.gather(*(redis.ping() for _ in range(10)))


async def test_a_command_to_a_frozen_server_fails_in_bounded_time(start_redis: StartRedis) -> None:
    server = start_redis()
    async with open_redis(server.url) as redis:
        await redis.ping()
        server.freeze()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(REDIS_FAILURES):
            await redis.ping()
        assert asyncio.get_running_loop().time() - begun < 5
        server.thaw()
