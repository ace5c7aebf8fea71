"""A call over the publisher's own connection is answered, refused or failed in bounded time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
import uvloop
from redis.exceptions import NoScriptError

from jobs import redis_calls
from jobs.redis_calls import RedisCalls, open_calls
from jobs.redis_link import CALL_TIMEOUT_SECONDS, REDIS_FAILURES, open_redis
from jobs.redis_wire import Address, Wire, failure
from tests.jobs.log_rig import open_rig
from tests.services import DelayingProxy, Direction, RedisServer, eventually, free_port
from tests.services.tls_front import tls_front

StartRedis = Callable[..., RedisServer]


async def ask(calls: RedisCalls, *command: str | bytes | int, times: int = 1) -> Any:
    """The reply to a command, the last one of so many; raises what there was instead."""
    answered: asyncio.Future[list[Any] | Exception] = asyncio.get_running_loop().create_future()
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    calls.ask(packed * times, times, answered.set_result)
    replies = await answered
    if isinstance(replies, Exception):
        raise replies
    assert len(replies) == times
    return replies[-1]


async def test_calls_are_answered_with_all_their_replies(redis_url: str) -> None:
    with open_calls(Address.of_url(redis_url)) as calls:
        assert await ask(calls, "SET", b"k", 7) == b"OK"
        assert await ask(calls, "GET", "k") == b"7"
        assert await ask(calls, "INCR", "k", times=100) == 107
        assert calls.connections == 1


async def test_a_refusal_is_a_reply_and_costs_no_connection(redis_url: str) -> None:
    with open_calls(Address.of_url(redis_url)) as calls:
        assert "unknown command" in str(await ask(calls, "NONSENSE"))
        refused = await ask(calls, "EVALSHA", "0" * 40, 0, times=2)
        assert isinstance(failure(refused), NoScriptError)
        assert await ask(calls, "PING") == b"PONG"
        assert calls.connections == 1


async def test_a_connection_lost_between_two_calls_costs_none_of_them(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        with open_calls(Address.of_url(proxy.url(redis_url))) as calls:
            await ask(calls, "PING")
            assert proxy.abort() == 1
            await eventually(lambda: calls._wire is None)
            assert await ask(calls, "PING") == b"PONG"
            assert calls.connections == 2


@pytest.mark.parametrize("direction", Direction)
async def test_a_connection_lost_during_a_call_fails_it(
    redis_url: str, direction: Direction
) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        with open_calls(Address.of_url(proxy.url(redis_url))) as calls:
            await ask(calls, "PING")
            trap = proxy.cut_before(b"marker", direction)
            with pytest.raises(REDIS_FAILURES):
                await ask(calls, "ECHO", "marker")
            assert trap.sprung == 1
            assert await ask(calls, "PING") == b"PONG"


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_taker_that_fails_costs_the_connection_and_no_call_after_it(
    redis_url: str, loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    async def failing() -> None:
        unheard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        with open_calls(Address.of_url(redis_url)) as calls:
            later: asyncio.Future[list[Any] | Exception] = (
                asyncio.get_running_loop().create_future()
            )

            def take(_: list[Any] | Exception) -> None:
                calls.ask(b"PING\r\n", 1, later.set_result)
                raise RuntimeError("what is this")

            calls.ask(b"PING\r\n", 1, take)
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS / 2):
                assert isinstance(await later, REDIS_FAILURES)
            assert await ask(calls, "PING") == b"PONG"
            assert calls.connections == 2
        assert unheard == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(failing())
    assert "what is this" in caplog.text


async def test_a_call_that_can_not_be_written_fails_and_the_next_one_is_asked(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: Wire, __: bytes) -> None:
        raise RuntimeError("the handler is closed")

    with open_calls(Address.of_url(redis_url)) as calls:
        await ask(calls, "PING")
        with monkeypatch.context() as patch:
            patch.setattr(Wire, "write", closed)
            with pytest.raises(RuntimeError, match="closed"):
                await ask(calls, "PING")
        assert await ask(calls, "PING") == b"PONG"


async def test_a_call_to_a_frozen_server_ends_in_time_and_its_answer_meets_no_other_call(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    with open_calls(Address.of_url(server.url)) as calls:
        await ask(calls, "PING")
        server.freeze()
        # Set for the call before, it would look later than the short timeout.
        assert calls._timer is not None
        calls._timer.cancel()
        calls._timer = None
        with monkeypatch.context() as patch:
            patch.setattr(redis_calls, "CALL_TIMEOUT_SECONDS", 0.2)
            now = asyncio.get_running_loop().time
            # The first asks over a connection that was made, the second one makes its own.
            for _ in range(2):
                asked = now()
                with pytest.raises(TimeoutError):
                    await ask(calls, "ECHO", "late")
                assert 0.15 < now() - asked < CALL_TIMEOUT_SECONDS
        server.thaw()
        assert await ask(calls, "ECHO", "prompt") == b"prompt"


async def test_a_thousand_calls_are_one_timer_and_no_task(redis_url: str) -> None:
    with open_calls(Address.of_url(redis_url)) as calls:
        await ask(calls, "PING")
        timer, tasks = calls._timer, asyncio.all_tasks()
        for _ in range(1000):
            await ask(calls, "PING")
        assert calls._timer is timer is not None
        assert asyncio.all_tasks() == tasks


async def test_nobody_hears_of_a_call_that_was_under_way_at_the_end(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    replies: list[list[Any] | Exception] = []
    with open_calls(Address.of_url(server.url)) as calls:
        await ask(calls, "PING")
        wire, timer = calls._wire, calls._timer
        assert wire is not None
        assert timer is not None
        server.freeze()
        calls.ask(b"PING\r\n", 1, replies.append)
    async with asyncio.timeout(5):
        await wire.lost.wait()
    assert timer.cancelled()
    assert replies == []


async def test_nobody_there_is_a_failure() -> None:
    with open_calls(Address.of_url(f"redis://127.0.0.1:{free_port()}/0")) as calls:
        for _ in range(2):
            with pytest.raises(REDIS_FAILURES):
                await ask(calls, "PING")


async def test_calls_go_to_the_database_of_the_address_as_its_user(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    server.command("ACL", "SETUSER", "me", "on", ">pass", "~*", "&*", "+@all")
    server.command("ACL", "SETUSER", "default", "off")
    url = server.url.replace("//", "//me:pass@").replace("/0", "/5")
    async with open_redis(url) as redis:
        with open_calls(Address.of_client(redis)) as calls:
            assert await ask(calls, "ACL", "WHOAMI") == b"me"
            await ask(calls, "SET", "where", "here")
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


async def test_commands_over_dead_links_fail_in_bounded_time_and_the_next_ones_get_others(
    redis_url: str,
) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_redis(proxy.url(redis_url)) as redis,
    ):
        await asyncio.gather(*(redis.ping() for _ in range(10)))
        proxy.forget_open()
        begun = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(redis.ping() for _ in range(10)), return_exceptions=True)
        assert asyncio.get_running_loop().time() - begun < 5
        assert all(isinstance(answer, REDIS_FAILURES) for answer in answers)
        assert all(await asyncio.gather(*(redis.ping() for _ in range(10))))
