"""The proxy does to a connection what it is told, says so, and changes no byte otherwise."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone

from tests.services import DelayingProxy, Direction, eventually
from tests.services.resp import conversation


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """Run a server that sends back what it gets."""
    closing: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closing.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in closing:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def echo_through_proxy() -> AsyncIterator[
    tuple[DelayingProxy, asyncio.StreamReader, asyncio.StreamWriter]
]:
    """Give a proxy before an echo server, and one connection through it."""
    async with echo() as url, DelayingProxy.before(url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        yield proxy, reader, writer
        writer.transport.abort()


async def test_bytes_pass_unchanged_and_a_half_close_too() -> None:
    async with echo_through_proxy() as (proxy, reader, writer):
        body = bytes(range(256)) * 4096
        writer.write(body)
        writer.write_eof()
        assert await reader.read(-1) == body
        assert proxy.counts.bytes == {Direction.UP: len(body), Direction.DOWN: len(body)}


async def test_each_way_is_delayed_by_its_own_time_and_in_order() -> None:
    async with echo_through_proxy() as (proxy, reader, writer):
        proxy.delay_ms = {Direction.UP: 60, Direction.DOWN: 40}
        began = time.perf_counter()
        for number in range(10):
            writer.write(b"%d" % number)
            await writer.drain()
        assert await reader.readexactly(10) == b"0123456789"
        assert 0.1 <= time.perf_counter() - began < 1
        assert proxy.counts.delayed >= 2


async def test_a_black_hole_holds_what_is_sent_and_healing_delivers_it() -> None:
    async with echo_through_proxy() as (proxy, reader, writer):
        proxy.black_hole()
        writer.write(b"late")
        answer = asyncio.ensure_future(reader.readexactly(4))
        done, _ = await asyncio.wait({answer}, timeout=0.1)
        assert not done
        assert proxy.counts.held == 1
        proxy.heal()
        assert await asyncio.wait_for(answer, 5) == b"late"


async def test_a_black_hole_may_swallow_one_way_only() -> None:
    async with echo_through_proxy() as (proxy, reader, writer):
        proxy.black_hole(Direction.DOWN)
        writer.write(b"heard")
        answer = asyncio.ensure_future(reader.readexactly(5))
        done, _ = await asyncio.wait({answer}, timeout=0.1)
        assert not done
        assert proxy.counts.bytes == {Direction.UP: 5, Direction.DOWN: 0}
        answer.cancel()


async def test_an_abort_resets_what_is_open() -> None:
    async with echo_through_proxy() as (proxy, reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        assert proxy.abort() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert proxy.counts.resets == 1


async def test_a_refusing_proxy_resets_new_connections_until_it_is_healed() -> None:
    async with echo() as url, DelayingProxy.before(url) as proxy:
        proxy.refuse()
        reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert proxy.counts.refused == 1
        proxy.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.transport.abort()


@settings(deadline=None, max_examples=30)
@given(
    before=st.binary(max_size=20).filter(lambda data: b"COMMIT" not in data + b"COMMI"),
    cuts=st.lists(st.integers(min_value=0, max_value=40), max_size=5),
)
def test_a_pattern_is_stopped_wherever_the_chunks_are_cut(before: bytes, cuts: list[int]) -> None:
    received = bytearray()

    def _passed(proxy: DelayingProxy, sent: int) -> bool:
        return proxy.counts.bytes[Direction.UP] >= min(sent, len(before) + len(b"COMMIT;"))

    async def story() -> None:
        async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    received.extend(data)
            writer.transport.abort()

        server = await asyncio.start_server(sink, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, DelayingProxy.before(url) as proxy:
            trap = proxy.cut_before(b"COMMIT", Direction.UP)
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            body = before + b"COMMIT;"
            for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(body)], strict=True):
                writer.write(body[start:end])
                # One at a time, so that each piece is a chunk of its own in the proxy.
                await eventually(lambda sent=end: _passed(proxy, sent) or trap.sprung == 1)
            await trap.wait()
            writer.transport.abort()

    asyncio.run(story())
    assert b"COMMIT" not in received


async def test_cut_after_delivers_the_pattern_and_loses_the_answer(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy, Redis.from_url(redis_url) as direct:
        trap = proxy.cut_after(b"INCR", Direction.UP)
        async with Redis.from_url(proxy.url(redis_url)) as client:
            await client.ping()
            with pytest.raises(RedisGone):
                await client.incr("counter")
            await trap.wait()
            assert trap.sprung == proxy.counts.cuts == 1
            # The trap is spent: the next command goes through on a new connection.
            assert await client.incr("counter") == 2
        assert await direct.get("counter") == b"2"


async def test_cut_before_keeps_the_command_from_the_server(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy, Redis.from_url(redis_url) as direct:
        proxy.cut_before(b"INCR", Direction.UP)
        async with Redis.from_url(proxy.url(redis_url)) as client:
            with pytest.raises(RedisGone):
                await client.incr("counter")
        assert await direct.get("counter") is None


async def test_a_trap_of_a_transaction_leaves_all_others_alone(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        trap = proxy.cut_before(b"COMMIT", Direction.UP, transaction=b"mine")
        async with Redis.from_url(proxy.url(redis_url)) as client:
            for said in ("mine", "BEGIN", "another's", "COMMIT", "BEGIN", "mine"):
                assert await client.echo(said) == said.encode()
            assert trap.sprung == 0
            with pytest.raises(RedisGone):
                await client.echo("COMMIT")
            assert trap.sprung == 1


async def test_the_recording_is_the_conversation_in_the_clients_order(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url, up_ms=2, down_ms=2) as proxy:
        async with Redis.from_url(proxy.url(redis_url)) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            assert (await pubsub.get_message(timeout=5) or {})["type"] == "subscribe"
            await client.set("key", "é" * 100)
        said = conversation(proxy.passages)
        order = [(one.direction, one.name) for one in said]
        asked = order.index((Direction.UP, b"SUBSCRIBE"))
        acknowledged = order.index((Direction.DOWN, b"SUBSCRIBE"))
        stored = order.index((Direction.UP, b"SET"))
        assert asked < acknowledged < stored
        assert said[stored].message == [b"SET", b"key", ("é" * 100).encode()]
        assert said[acknowledged].at - said[asked].at >= 0.004


def test_the_proxys_url_keeps_the_rest_of_the_address() -> None:
    async def story() -> None:
        async with DelayingProxy("127.0.0.1", 1) as proxy:
            given = "postgresql+asyncpg://u:p@127.0.0.1:1/db?x=1"
            assert proxy.url(given) == f"postgresql+asyncpg://u:p@127.0.0.1:{proxy.port}/db?x=1"

    asyncio.run(story())
