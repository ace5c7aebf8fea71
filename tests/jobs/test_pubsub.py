"""The subscribing connection delivers in order from the acknowledgement on, whatever it runs on."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from jobs import pubsub
from jobs.pubsub import PubSub, open_pubsub
from jobs.redis_link import open_redis
from jobs.redis_wire import Wire, open_wire
from tests.services import DelayingProxy, Direction, RedisServer, eventually
from tests.services.tls_front import tls_front

StartRedis = Callable[..., RedisServer]


def nothing() -> None:
    """Hears of a subscription and does not mind."""


async def deliver(url: str, publisher: Redis, count: int) -> list[bytes]:
    """What a listener got of so many messages, published once it was acknowledged."""
    got: list[bytes] = []
    async with open_pubsub(url) as link:
        subscription = link.subscribe("news", got.append, nothing)
        assert await subscription.wait(5)
        for start in range(0, count, 10_000):
            pipeline = publisher.pipeline(transaction=False)
            for number in range(start, min(start + 10_000, count)):
                pipeline.publish("news", b"%d" % number)
            await pipeline.execute()
        await eventually(lambda: len(got) >= count, within=20)
    return got


async def test_a_message_right_after_the_acknowledgement_arrives(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url, up_ms=3, down_ms=3) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
        open_redis(redis_url) as redis,
    ):
        await eventually(lambda: link.connected)
        for number in range(50):
            got: list[bytes] = []
            subscription = link.subscribe(f"news.{number}", got.append, nothing)
            assert not subscription.acknowledged.is_set()
            assert await subscription.wait(5)
            assert await redis.publish(f"news.{number}", "x") == 1
            await eventually(lambda got=got: got == [b"x"])
        assert proxy.counts.delayed > 100


async def test_waiting_for_an_acknowledgement_is_bounded(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
    ):
        await eventually(lambda: link.connected)
        proxy.black_hole(Direction.DOWN)
        subscription = link.subscribe("news", lambda _: None, nothing)
        assert not await subscription.wait(0.05)
        assert proxy.counts.held > 0
        proxy.heal()
        assert await subscription.wait(5)
        assert await subscription.wait(0)


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_burst_of_fifty_thousand_messages_arrives_whole_and_in_order(
    redis_url: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def burst() -> list[bytes]:
        async with open_redis(redis_url) as redis:
            return await deliver(redis_url, redis, 50_000)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(burst()) == [b"%d" % number for number in range(50_000)]


async def test_a_message_of_several_megabytes_arrives_whole(redis_url: str) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        got: list[bytes] = []
        assert await link.subscribe("news", got.append, nothing).wait(5)
        large = bytes(range(256)) * 16_384
        await redis.publish("news", large)
        await eventually(lambda: got == [large])


async def test_each_channel_has_its_own_listener_and_one_only(redis_url: str) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        got: dict[str, list[bytes]] = {name: [] for name in ("a", "b")}
        for name, messages in got.items():
            assert await link.subscribe(name, messages.append, nothing).wait(5)
        with pytest.raises(ValueError, match="a has a listener already"):
            link.subscribe("a", lambda _: None, nothing)
        await redis.publish("a", "1")
        await redis.publish("b", "2")
        await eventually(lambda: got == {"a": [b"1"], "b": [b"2"]})


async def test_a_channel_that_was_given_up_is_silent_and_can_be_taken_again(
    redis_url: str,
) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        first: list[bytes] = []
        second: list[bytes] = []
        subscription = link.subscribe("news", first.append, nothing)
        assert await subscription.wait(5)
        subscription.close()
        await eventually(lambda: _is_idle(redis, "news"))
        again = link.subscribe("news", second.append, nothing)
        assert await again.wait(5)
        # What is over stays over: it must not take the channel from the new listener.
        subscription.close()
        await redis.publish("news", "x")
        await eventually(lambda: second == [b"x"])
        assert first == []


async def _is_idle(redis: Redis, channel: str) -> bool:
    [(_, listeners)] = await redis.pubsub_numsub(channel)
    return bool(listeners == 0)


async def test_a_channel_taken_again_at_once_counts_from_its_own_acknowledgement(
    redis_url: str,
) -> None:
    async with (
        DelayingProxy.before(redis_url, down_ms=20) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
        open_redis(redis_url) as redis,
    ):
        await eventually(lambda: link.connected)
        acknowledgements: list[str] = []
        for number in range(20):
            name = f"news.{number}"
            link.subscribe(name, lambda _: None, lambda: acknowledgements.append("of the first"))
            next(one for one in [link._channels[name.encode()]]).close()
            got: list[bytes] = []
            own: list[str] = []
            subscription = link.subscribe(name, got.append, partial(own.append, "own"))
            assert await subscription.wait(5)
            assert not link._due, "an acknowledgement was still to come"
            assert await redis.publish(name, "x") == 1
            await eventually(lambda got=got: got == [b"x"])
            assert own == ["own"], "an acknowledgement of the first counted too"
        assert acknowledgements == []


async def test_thousands_of_channels_share_one_connection(redis_url: str) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        got: list[bytes] = []
        subscriptions = [
            link.subscribe(f"news.{number}", got.append, nothing) for number in range(3000)
        ]
        assert all([await one.wait(5) for one in subscriptions])
        for number in (0, 1499, 2999):
            await redis.publish(f"news.{number}", f"{number}")
        await eventually(lambda: got == [b"0", b"1499", b"2999"])
        assert link.connections == 1


async def test_a_failing_listener_costs_the_others_nothing(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        got: list[bytes] = []

        def fail(message: bytes) -> None:
            raise ValueError(message)

        assert await link.subscribe("bad", fail, nothing).wait(5)
        assert await link.subscribe("good", got.append, nothing).wait(5)
        pipeline = redis.pipeline(transaction=False)
        for name in ("bad", "good", "bad", "good"):
            pipeline.publish(name, name)
        await pipeline.execute()
        await eventually(lambda: got == [b"good", b"good"])
        assert link.connections == 1
        assert [one.message for one in caplog.records] == ["a listener failed"] * 2


@pytest.mark.parametrize(
    ("options", "login"),
    [
        (("--requirepass", "s e:c/ret@ü"), ":s%20e%3Ac%2Fret%40%C3%BC@"),
        (("--user", "me on >pass ~* &* +@all", "--user", "default off"), "me:pass@"),
    ],
)
async def test_it_logs_in_with_a_password_or_as_a_user(
    start_redis: StartRedis, options: tuple[str, ...], login: str
) -> None:
    # The server is asked for no login until it has answered the fixture.
    server = start_redis()
    with_login = server.url.replace("//", f"//{login}")
    if options[0] == "--requirepass":
        server.command("CONFIG", "SET", "requirepass", options[1])
    else:
        server.command("ACL", "SETUSER", *options[1].split())
        server.command("ACL", "SETUSER", "default", "off")
    async with open_redis(with_login) as redis:
        assert await deliver(with_login, redis, 3) == [b"0", b"1", b"2"]


async def test_a_wrong_password_is_not_tried_in_a_tight_loop(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def counted(*arguments: Any) -> Wire:
        nonlocal tries
        tries += 1
        return await open_wire(*arguments)

    monkeypatch.setattr(pubsub, "open_wire", counted)
    caplog.set_level("INFO")
    server = start_redis()
    server.command("CONFIG", "SET", "requirepass", "right")
    async with open_pubsub(server.url.replace("//", "//:wrong@")) as link:
        subscription = link.subscribe("news", lambda _: None, nothing)
        assert not await subscription.wait(1.0)
        assert not link.connected
        assert 2 <= tries <= 8
        async with open_redis(server.url.replace("//", "//:right@")) as redis:
            await redis.config_set("requirepass", "wrong")
        await eventually(lambda: link.connected)
    # A line when it begins and one when it is over, however often it was tried.
    lines = [one for one in caplog.records if "subscribing connection" in one.message]
    assert [one.message.rpartition(": ")[2] for one in lines] == ["waiting", "going on"]
    assert "WRONGPASS" in lines[0].__dict__["reason"]


async def test_a_server_that_refuses_subscriptions_is_not_asked_in_a_tight_loop(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    server.command("CONFIG", "SET", "requirepass", "right")
    async with open_pubsub(server.url) as link:
        assert not await link.subscribe("news", lambda _: None, nothing).wait(1.0)
        assert 1 <= link.connections <= 8
        assert not link.connected
        server_with_login = server.url.replace("//", "//:right@")
        async with open_redis(server_with_login) as redis:
            await redis.config_set("requirepass", "")
        await eventually(lambda: link.connected)


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_it_speaks_tls_and_knows_whom_to_trust(
    redis_url: str, tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def over_tls() -> None:
        async with tls_front(redis_url, tmp_path) as (port, authority):
            trusting = f"?ssl_ca_certs={authority}"
            good = [
                f"rediss://localhost:{port}/0{trusting}",
                f"rediss://127.0.0.1:{port}/0{trusting}&ssl_check_hostname=false",
                f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none",
            ]
            for url in good:
                async with open_redis(url) as redis:
                    assert await deliver(url, redis, 3) == [b"0", b"1", b"2"]
            bad = [
                f"rediss://localhost:{port}/0",  # signed by nobody known
                f"rediss://127.0.0.1:{port}/0{trusting}",  # another host's
                f"redis://localhost:{port}/0",  # no TLS
            ]
            for url in bad:
                await refuses(url)

    async def refuses(url: str) -> None:
        async with open_pubsub(url) as link, open_redis(url) as redis:
            assert not await link.subscribe("news", lambda _: None, nothing).wait(0.2)
            with pytest.raises(Exception, match=r"(?i)certificate|closed|reset|connect"):
                await redis.ping()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(over_tls())


async def test_a_server_that_is_no_redis_is_left_alone() -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with open_pubsub(f"redis://127.0.0.1:{port}") as link:
            assert not await link.subscribe("news", lambda _: None, nothing).wait(0.5)
            assert not link.connected
        assert 1 <= asked <= 6


async def test_leaving_the_block_closes_the_connection(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        async with open_pubsub(redis_url) as link:
            assert await link.subscribe("news", lambda _: None, nothing).wait(5)
        await eventually(lambda: _is_idle(redis, "news"))


def test_a_link_is_made_without_a_running_loop_and_connects_later() -> None:
    assert not PubSub("redis://127.0.0.1:1/0").connected
