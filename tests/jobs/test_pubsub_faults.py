"""A subscribing connection that is lost or goes silent is replaced, and every listener told."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from redis import Redis as SyncRedis

from jobs import pubsub
from jobs.pubsub import PubSub, Subscription, open_pubsub
from jobs.redis_link import open_redis
from jobs.redis_wire import Wire
from tests.services import DelayingProxy, Direction, RedisServer, eventually

StartRedis = Callable[..., RedisServer]


class Reader:
    """A listener that keeps what it heard, subscriptions included."""

    def __init__(self, link: PubSub, channel: str = "news") -> None:
        self.heard: list[bytes] = []
        self.subscription: Subscription = link.subscribe(
            channel, self.heard.append, lambda: self.heard.append(b"SUBSCRIBED")
        )


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_killed_connection_is_made_again_and_each_listener_hears_of_it(
    redis_url: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def kill() -> None:
        async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
            readers = [Reader(link, f"news.{number}") for number in range(1200)]
            assert all([await one.subscription.wait(5) for one in readers])
            for times in range(2, 5):
                killed = await redis.client_kill_filter(_type="pubsub")
                assert killed == 1
                await eventually(
                    lambda times=times: all(
                        one.heard.count(b"SUBSCRIBED") == times for one in readers
                    )
                )
            assert link.connections == 4
            await redis.publish("news.1199", "x")
            await eventually(lambda: readers[-1].heard[-1] == b"x")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(kill())


async def test_an_acknowledgement_of_a_lost_connection_counts_no_more(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
    ):
        reader = Reader(link)
        assert await reader.subscription.wait(5)
        proxy.refusing = True
        assert proxy.abort() == 1
        await eventually(lambda: not link.connected)
        assert not await reader.subscription.wait(0.05)
        later = Reader(link, "later")
        proxy.heal()
        assert await reader.subscription.wait(5)
        assert await later.subscription.wait(5)
        assert reader.heard == [b"SUBSCRIBED"] * 2
        assert later.heard == [b"SUBSCRIBED"]


async def test_what_was_given_up_while_away_is_not_subscribed_again(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
        open_redis(redis_url) as redis,
    ):
        gone, kept = Reader(link, "gone"), Reader(link, "kept")
        assert await gone.subscription.wait(5)
        proxy.refusing = True
        proxy.abort()
        await eventually(lambda: not link.connected)
        gone.subscription.close()
        proxy.heal()
        assert await kept.subscription.wait(5)
        assert await redis.pubsub_numsub("gone", "kept") == [(b"gone", 0), (b"kept", 1)]


async def test_a_frozen_server_is_noticed_within_two_pings(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pubsub.PING_EVERY_SECONDS == 2
    monkeypatch.setattr(pubsub, "PING_EVERY_SECONDS", 0.2)
    send, sent = Wire.send, list[bytes | str | int]()

    def note(wire: Wire, *command: bytes | str | int) -> None:
        sent.append(command[0])
        send(wire, *command)

    monkeypatch.setattr(Wire, "send", note)
    server = start_redis()
    async with open_pubsub(server.url) as link, open_redis(server.url) as redis:
        reader = Reader(link)
        assert await reader.subscription.wait(5)
        server.freeze()
        sent.clear()
        await eventually(lambda: not link.connected)
        assert sent.count(b"PING") <= 2
        server.thaw()
        await eventually(lambda: reader.heard == [b"SUBSCRIBED"] * 2)
        await redis.publish("news", "x")
        await eventually(lambda: reader.heard[-1] == b"x")


@pytest.mark.parametrize("directions", [(), (Direction.UP,), (Direction.DOWN,)])
async def test_a_dead_network_is_noticed_though_the_connection_stays_open(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, directions: tuple[Direction, ...]
) -> None:
    monkeypatch.setattr(pubsub, "PING_EVERY_SECONDS", 0.2)
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
        open_redis(redis_url) as redis,
    ):
        reader = Reader(link)
        assert await reader.subscription.wait(5)
        proxy.black_hole(*directions)
        await eventually(lambda: link.connections > 1 or not link.connected)
        assert proxy.counts.held > 0
        proxy.heal()
        await eventually(lambda: reader.heard.count(b"SUBSCRIBED") > 1)
        await reader.subscription.wait(5)
        await redis.publish("news", "x")
        await eventually(lambda: reader.heard[-1] == b"x")


async def test_silence_alone_is_no_reason_to_reconnect(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "PING_EVERY_SECONDS", 0.2)
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
    ):
        assert await Reader(link).subscription.wait(5)
        await eventually(lambda: sum(b"PING" in one.data for one in proxy.passages) > 8)
        assert link.connections == 1


async def test_a_loop_that_was_busy_for_long_takes_nobody_for_dead(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "PING_EVERY_SECONDS", 0.2)
    async with open_pubsub(redis_url) as link:
        assert await Reader(link).subscription.wait(5)
        now = asyncio.get_running_loop().time
        for _ in range(3):
            until = now() + 0.5
            while now() < until:
                pass
            await asyncio.sleep(0.001)
        assert link.connections == 1
        assert link.connected


async def test_a_restarted_server_is_found_again(start_redis: StartRedis) -> None:
    server = start_redis()
    async with open_pubsub(server.url) as link, open_redis(server.url) as redis:
        reader = Reader(link)
        assert await reader.subscription.wait(5)
        server.kill()
        await eventually(lambda: not link.connected)
        server.restart(keep_data=False)
        await eventually(lambda: reader.heard == [b"SUBSCRIBED"] * 2)
        await redis.publish("news", "x")
        await eventually(lambda: reader.heard[-1] == b"x")


async def test_a_subscriber_that_the_server_cuts_for_slowness_comes_back(
    redis_url: str,
) -> None:
    async with open_pubsub(redis_url) as link, open_redis(redis_url) as redis:
        reader = Reader(link)
        assert await reader.subscription.wait(5)
        await redis.config_set("client-output-buffer-limit", "pubsub 1mb 256kb 5")
        try:
            # Blocking on purpose: the link can't read in between.
            with SyncRedis.from_url(redis_url) as flood:
                sent = 0
                while flood.publish("news", b"x" * 10_000):
                    sent += 1
                    assert sent < 20_000, "it was never cut"
            await eventually(lambda: link.connections == 2)
            await eventually(lambda: reader.heard.count(b"SUBSCRIBED") == 2)
        finally:
            await redis.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
        await redis.publish("news", "after")
        await eventually(lambda: reader.heard[-1] == b"after")
