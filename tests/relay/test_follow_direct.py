"""Live events past the stream's own task: the same bytes in the same order, for next to no work."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.events import FileDelta, Notice
from relay.app import create_app
from relay.event_stream import EventStream
from relay.follow import Follower
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay
from tests.relay.heard import assert_is_the_rest
from tests.relay.stage import Author, ReadingSide, authoring, reading_side
from tests.services import eventually, live_server

EVENTS = 200


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes, as the owner of a relay without authorization."""
    async with authoring(migrated_url, redis_url, owner="local") as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[ReadingSide]:
    """Who reads."""
    async with reading_side(migrated_url, redis_url) as side:
        yield side


async def test_what_passes_and_what_has_to_wait_stay_in_order_whole_and_once(
    author: Author, side: ReadingSide
) -> None:
    chance = random.Random(11)
    log = await author.running()
    reader = await side.reader(log.generation_id).join()
    passed: list[bytes] = []

    def write(chunk: bytes) -> bool:
        if chance.random() < 0.3:
            return False
        passed.append(chunk)
        reader.chunks.append(chunk)
        return True

    reader.follower.write_through(write)
    reader.start()
    for number in range(EVENTS):
        if number % 10 == 9:
            log.append("notice", Notice("n", str(number)))
        else:
            log.append_text(f"tøken {number} 🎉 ")
        if chance.random() < 0.7:
            await author.flush()
        if number == EVENTS // 2:
            # What is lost on the way is read from the log, and nothing may pass that by.
            side.pubsub.close()
    await author.end(log)
    told = await reader.finish()
    assert_is_the_rest(told, await author.log_of(log))
    assert 0 < len(passed) < len(reader.chunks)


async def test_a_live_event_wakes_no_reader_and_is_copied_for_none(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    readers = [await side.reader(log.generation_id).join() for _ in range(5)]
    written: list[list[bytes]] = [[] for _ in readers]
    for reader, chunks in zip(readers, written, strict=True):

        def write(chunk: bytes, chunks: list[bytes] = chunks) -> bool:
            chunks.append(chunk)
            return True

        reader.follower.write_through(write)
        reader.start()
    await author.flush()
    for reader in readers:
        await reader.hears_up_to(1)
    given = [len(reader.chunks) for reader in readers]
    for number in range(20):
        log.append_text(f"token {number} ")
        await author.flush()
    await eventually(lambda: sum(map(len, written)) == 20 * len(readers))
    assert [len(reader.chunks) for reader in readers] == given
    for copies in zip(*written, strict=True):
        assert all(copy is copies[0] for copy in copies)
    for reader in readers:
        reader.leave()


async def test_previews_that_were_lost_end_no_body(author: Author, side: ReadingSide) -> None:
    log = await author.running()
    reader = await side.reader(log.generation_id).join()
    passed: list[bytes] = []

    def write(chunk: bytes) -> bool:
        passed.append(chunk)
        reader.chunks.append(chunk)
        return True

    reader.follower.write_through(write)
    reader.start()

    async def goes_past() -> bool:
        log.append_text("word ")
        await author.flush()
        return bool(passed)

    await eventually(goes_past)
    log.append_file_delta(FileDelta("a.md", 0, "lost with the connection to Redis"))
    log.forget_frames()
    await author.flush()
    log.append_text("and on")
    await author.flush()
    await author.end(log)
    told = await reader.finish()
    assert b"" not in passed
    assert_is_the_rest(told, await author.log_of(log))


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_live_event_passes_the_servers_send_but_none_that_wraps_it(
    open_relay: OpenRelay, author: Author, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    sent: list[bytes] = []
    send_chunk = EventStream._send_chunk

    async def noted(self: EventStream, send: Any, chunk: bytes) -> None:
        sent.append(chunk)
        await send_chunk(self, send, chunk)

    monkeypatch.setattr(EventStream, "_send_chunk", noted)

    def served(relay: EdgeRelay) -> ASGIApp:
        app = create_app(services=relay.services)

        async def wrapping(scope: Scope, receive: Receive, send: Send) -> None:
            async def shouting(message: Message) -> None:
                await send(
                    {**message, "body": message["body"].upper()} if "body" in message else message
                )

            await app(scope, receive, shouting if scope["type"] == "http" else send)

        return wrapping if wrapped else app

    log = await author.running()
    await author.flush()
    async with (
        open_relay() as relay,
        live_server(served(relay)) as url,
        httpx.AsyncClient(base_url=url, timeout=10) as client,
        client.stream("GET", f"/v1/generations/{log.generation_id}/events") as answer,
    ):
        pieces = answer.aiter_raw()
        assert b"event: status" in (await anext(pieces)).lower()
        # What comes before its reader waits for more goes the long way.
        open_now = relay.services.sources.pulse._streams
        [follower] = [one for one in open_now if isinstance(one, Follower)]
        await eventually(lambda: follower._listens)
        before = len(sent)
        log.append_text("written directly")
        text = b"WRITTEN DIRECTLY" if wrapped else b"written directly"
        assert text in await anext(pieces)
        assert len(sent) == before + wrapped
        await author.end(log)
        rest = b"".join([piece async for piece in pieces])
    assert b"event: completed" in rest.lower()


async def test_a_reader_is_two_tasks_of_its_relay_however_much_it_is_sent(
    open_relay: OpenRelay, author: Author
) -> None:
    log = await author.running()
    await author.flush()
    async with open_relay() as relay, live_server(create_app(services=relay.services)) as url:
        at = urlsplit(url)
        get = (
            f"GET /v1/generations/{log.generation_id}/events HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n"
        )
        readers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for readers_now in (10, 20):
            while len(readers) < readers_now:
                reader, writer = await asyncio.open_connection(at.hostname, at.port)
                writer.write(get.encode())
                assert b"event: status" in await reader.readuntil(b"event: status")
                readers.append((reader, writer))
            await eventually(lambda n=readers_now: set(tasks_of_many().values()) == {n})
            assert len(tasks_of_many()) == 2
            for number in range(20):
                log.append_text(f"<{readers_now}.{number}>")
                await author.flush()
            for reader, _ in readers:
                await reader.readuntil(b"<%d.19>" % readers_now)
            await eventually(lambda n=readers_now: set(tasks_of_many().values()) == {n})
            assert len(tasks_of_many()) == 2
        for _, writer in readers:
            writer.close()
        await author.end(log)


def tasks_of_many() -> dict[str, int]:
    """How many tasks there are by what they run, of which there are so many as of readers."""
    names = Counter(getattr(one.get_coro(), "__qualname__", "") for one in asyncio.all_tasks())
    return {name: count for name, count in names.items() if count >= 10}
