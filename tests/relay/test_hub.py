"""One subscribing connection for all: a channel is taken once, shared, and given up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio import Redis

from jobs import keys
from jobs.pubsub import PubSub, open_pubsub
from jobs.redis_link import open_redis
from jobs.stream_log import LOOK, Message
from relay.hub import Hub
from tests.services import DelayingProxy, RedisServer, eventually

GENERATION = "gen_1"


@dataclass(eq=False, slots=True)
class Ear:
    """Remembers what it heard."""

    heard: list[Any] = field(default_factory=list)
    subscribed: int = 0

    def on_message(self, payload: Any) -> None:
        self.heard.append(payload)

    def on_subscribed(self) -> None:
        self.subscribed += 1


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Who publishes."""
    async with open_redis(redis_url) as client:
        yield client


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[PubSub]:
    """The one connection."""
    async with open_pubsub(redis_url) as link:
        yield link


async def say(redis: Redis, head: bytes, *, generation_id: str = GENERATION) -> int:
    """Publishes; to how many connections."""
    return int(await redis.publish(keys.live(generation_id), head))


async def test_all_listeners_of_a_channel_share_one_subscription_and_one_parsed_message(
    redis: Redis, link: PubSub
) -> None:
    hub = Hub(link)
    ears = [Ear() for _ in range(50)]
    assert all([await hub.follow(GENERATION, ear) for ear in ears])
    assert hub.channels == 1
    assert await say(redis, b"2 3 4 1\nframes") == 1
    await eventually(lambda: all(ear.heard for ear in ears))
    assert ears[0].heard == [Message(2, 3, 4, True, b"frames")]
    assert all(ear.heard[0] is ears[0].heard[0] for ear in ears)


async def test_an_acknowledged_join_misses_nothing_on_a_slow_link(
    redis: Redis, redis_url: str
) -> None:
    async with (
        DelayingProxy.before(redis_url, up_ms=5, down_ms=5) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
    ):
        hub = Hub(link)
        for number in range(20):
            ear = Ear()
            name = f"gen_{number}"
            assert await hub.follow(name, ear)
            await say(redis, LOOK, generation_id=name)
            await eventually(lambda ear=ear: len(ear.heard) == 1)
            hub.leave(ear, generation_id=name)
        assert proxy.counts.delayed > 0


async def test_a_channel_is_given_up_with_its_last_listener(redis: Redis, link: PubSub) -> None:
    hub = Hub(link)
    first, second = Ear(), Ear()
    assert await hub.follow(GENERATION, first)
    assert await hub.follow(GENERATION, second)
    hub.leave(first, generation_id=GENERATION)
    assert await say(redis, LOOK) == 1
    await eventually(lambda: len(second.heard) == 1)
    hub.leave(second, generation_id=GENERATION)
    hub.leave(second, generation_id=GENERATION)
    assert hub.channels == 0

    async def nobody_hears() -> bool:
        return await say(redis, LOOK) == 0

    await eventually(nobody_hears)
    assert first.heard == []
    assert await hub.follow(GENERATION, first)
    assert await say(redis, LOOK) == 1
    await eventually(lambda: len(first.heard) == 1)


async def test_leaving_and_joining_again_at_once_ends_subscribed(
    redis: Redis, link: PubSub
) -> None:
    hub = Hub(link)
    ear = Ear()
    for _ in range(20):
        assert await hub.follow(GENERATION, ear)
        hub.leave(ear, generation_id=GENERATION)
    assert await hub.follow(GENERATION, ear)

    async def hears() -> bool:
        await say(redis, LOOK)
        return bool(ear.heard)

    await eventually(hears)


async def test_a_lost_link_tells_every_listener_once_it_holds_again(
    redis: Redis, link: PubSub, redis_server: RedisServer
) -> None:
    hub = Hub(link)
    ears = [Ear() for _ in range(3)]
    for number, ear in enumerate(ears):
        assert await hub.follow(f"gen_{number % 2}", ear)
    before = [ear.subscribed for ear in ears]
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(
        lambda: all(ear.subscribed > was for ear, was in zip(ears, before, strict=True))
    )
    assert await say(redis, LOOK, generation_id="gen_0") == 1
    await eventually(lambda: bool(ears[0].heard) and bool(ears[2].heard))
    assert ears[1].heard == []


async def test_a_join_without_redis_is_bounded_and_heard_of_later(
    redis: Redis, redis_url: str
) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_pubsub(proxy.url(redis_url)) as link,
    ):
        proxy.refuse()
        proxy.abort()
        hub = Hub(link)
        ear = Ear()
        async with asyncio.timeout(3):
            assert not await hub.follow(GENERATION, ear)
        assert ear.subscribed == 0
        proxy.heal()
        await eventually(lambda: ear.subscribed == 1)
        await say(redis, LOOK)
        await eventually(lambda: len(ear.heard) == 1)


async def test_a_message_that_nobody_of_ours_wrote_does_no_lasting_harm(
    redis: Redis, link: PubSub
) -> None:
    hub = Hub(link)
    ear = Ear()
    assert await hub.follow(GENERATION, ear)
    await say(redis, b"no message at all")

    async def hears() -> bool:
        await say(redis, LOOK)
        return bool(ear.heard)

    await eventually(hears)


async def test_a_feed_is_heard_as_it_was_published(redis: Redis, link: PubSub) -> None:
    hub = Hub(link)
    ear, other = Ear(), Ear()
    assert await hub.watch("ann", ear)
    assert await hub.watch("bob", other)
    await redis.publish(keys.feed("ann"), b'{"id":1}')
    await eventually(lambda: ear.heard == [b'{"id":1}'])
    assert other.heard == []
    hub.leave(ear, owner="ann")
    hub.leave(other, owner="bob")
    assert hub.channels == 0
