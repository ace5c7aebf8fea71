"""A stream on the wire: its head, its chunks, and how it ends."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from freezegun import freeze_time

from jobs import keys
from jobs.cursor import Cursor
from jobs.database import migrate
from jobs.errors import Unavailable
from jobs.ids import new_id
from jobs.pubsub import open_pubsub
from relay import past
from relay.app import create_app
from tests.relay.heard import assert_is_the_rest, heard, retries
from tests.relay.live import CHAT, Live, relay_settings, served
from tests.relay.raw_reader import ask
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, authoring
from tests.services import DelayingProxy, Direction, eventually, live_server
from tests.services.resp import conversation


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes, as the owner of a relay without authorization."""
    async with authoring(migrated_url, redis_url, owner="local") as author:
        yield author


@pytest.fixture
async def live(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[Live]:
    """A live relay."""
    async with served(relay_settings(migrated_url, redis_url), author) as live:
        yield live


async def test_the_head_and_the_chunks_are_as_the_protocol_says(live: Live) -> None:
    log = await live.author.running()
    await play(live.author, log, REFINE)
    async with live.follow(log) as answer:
        await answer.hears(5)
        await play(live.author, log, REFINE)
        await live.author.end(log)
        told = await answer.finish()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert not answer.headers.keys() & {"content-length", "content-encoding"}
    assert answer.finished
    # `heard` refuses a chunk that is not whole events with LF line ends.
    assert_is_the_rest(told, await live.author.log_of(log))
    assert re.match(rb"retry: [0-9]+\n\n", answer.chunks[0])
    assert len(retries(answer.chunks)) == 1


async def test_the_retry_is_jittered_and_comes_at_once_also_in_silence(live: Live) -> None:
    log = await live.author.running()
    await live.author.flush()
    seen = set()
    for _ in range(20):
        async with live.follow(log, Cursor(1, 1, 0)) as answer:
            await eventually(lambda answer=answer: bool(answer.chunks))
            assert answer.events == []
            seen.update(retries(answer.chunks))
    assert len(seen) > 5
    assert all(500 <= one <= 1500 for one in seen)


async def test_after_the_terminal_event_the_answer_is_204_without_a_body(live: Live) -> None:
    log = await live.author.running()
    await live.author.end(log)
    end = (await live.author.log_of(log))[-1].id
    url = live.events_url(log.generation_id)
    for answered in (
        ask(url, headers={"Last-Event-ID": str(end)}),
        ask(f"{url}?after={end}"),
        ask(f"{url}?after=1.1.0", headers={"Last-Event-ID": str(end)}),
    ):
        async with answered as answer:
            assert answer.status == 204
            assert not answer.headers.keys() & {"content-length", "transfer-encoding"}
    async with ask(f"{url}?after={end}", headers={"Last-Event-ID": "1.1.0"}) as answer:
        assert answer.status == 200
        assert [one.id for one in await answer.finish()] == [end]
    await eventually(lambda: live.services.sources.pulse.streams == 0)
    assert live.services.sources.hub.channels == 0


async def test_no_cursor_is_ever_an_error(live: Live) -> None:
    log = await live.author.running()
    await live.author.end(log)
    for cursor in ("", "x", "1", "-1.0.0", "9.9.9", "%00", "a" * 4000, "1.1.0, 1.2.0", "ChidÉ"):
        async with live.follow(log, cursor) as answer:
            told = await answer.finish()
            assert answer.status == 200
            assert answer.finished
            assert [one.event for one in told][-2:] == ["status", "completed"]


async def test_a_database_that_is_away_makes_the_reader_come_back(
    postgres_url: str, redis_url: str
) -> None:
    await migrate(postgres_url)
    async with (
        DelayingProxy.before(postgres_url) as proxy,
        authoring(postgres_url, redis_url, owner="local") as author,
        served(relay_settings(proxy.url(postgres_url), redis_url), author) as live,
    ):
        log = await author.running()
        proxy.refuse()
        proxy.abort()
        for cursor in (None, "1.1.0", "nonsense"):
            async with live.follow(log, cursor) as answer:
                await answer.finish()
                assert answer.status == 200
                assert answer.headers["content-type"] == "text/event-stream"
                assert answer.chunks == [b"retry: 2000\n\n"]
                assert not answer.finished
        assert proxy.counts.refused > 0
        proxy.heal()
        async with live.follow(log) as answer:
            await author.end(log)
            assert_is_the_rest(await answer.finish(), await author.log_of(log))
        await eventually(lambda: live.services.sources.pulse.streams == 0)
        assert live.services.sources.hub.channels == 0


async def test_a_sqlite_file_that_can_not_be_opened_makes_the_reader_come_back_and_is_a_503(
    tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "relay.db").mkdir()
    app = create_app(relay_settings(f"sqlite+aiosqlite:///{tmp_path}/relay.db", redis_url))
    async with live_server(app) as url, httpx.AsyncClient(base_url=url) as client:
        async with ask(f"{url}/v1/generations/{new_id('gen')}/events") as answer:
            answer.start()
            await answer.finish()
            assert answer.status == 200
            assert answer.chunks == [b"retry: 2000\n\n"]
            assert not answer.finished
        for asked in (
            client.get("/v1/generations"),
            client.post("/v1/generations", json={"kind": "chat", "input": "hello"}),
        ):
            refused = await asked
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


async def test_one_that_goes_away_after_the_first_look_makes_it_come_back_too(
    live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # What became of one that waits could be in no log.
    waiting = await live.author.queued()

    async def fails(*_: object, **__: object) -> None:
        raise Unavailable("the database")

    monkeypatch.setattr(past, "read_stream_row", fails)
    async with ask(live.events_url(waiting.id)) as answer:
        answer.start()
        await answer.finish()
        assert answer.chunks == [b"retry: 2000\n\n"]
        assert not answer.finished
    assert not any(record.exc_info for record in caplog.records)


async def test_idle_is_in_the_stream_which_ends_cleanly(
    migrated_url: str, redis_url: str, author: Author
) -> None:
    settings = relay_settings(
        migrated_url,
        redis_url,
        RELAY_IDLE_TIMEOUT_SECONDS="1.2",
        RELAY_HEARTBEAT_SECONDS="0.5",
    )
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        async with served(settings, author) as live:
            log = await author.running()
            async with live.follow(log) as answer:
                await answer.hears(1)
                clock.tick(0.6)
                live.services.sources.pulse.tick()
                await eventually(lambda: heard(answer.chunks)[-1].event == "heartbeat")
                clock.tick(0.7)
                live.services.sources.pulse.tick()
                await answer.finish()
        told = [one.event for one in heard(answer.chunks)]
        assert (told[0], told[-1]) == ("status", "idle")
        assert "heartbeat" in told
        assert answer.finished


async def test_a_clock_that_jumps_ends_no_stream_that_is_not_silent(live: Live) -> None:
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        log = await live.author.running()
        async with live.follow(log) as lively, live.follow(log) as silent:
            await lively.hears(1)
            await silent.hears(1)
            for word in ("one ", "two ", "three "):
                clock.tick(80)
                live.services.sources.pulse.tick()
                log.append_text(word)
                await live.author.flush()
                await lively.hears(1 + len(log.text.split()))
            await live.author.end(log)
            for answer in (lively, silent):
                assert (await answer.finish())[-1].event == "completed"
        waiting = await live.author.running()
        async with live.follow(waiting) as answer:
            await answer.hears(1)
            clock.tick(91)
            await answer.finish()
            assert heard(answer.chunks)[-1].event == "idle"
            assert answer.finished


async def test_the_order_is_subscribe_its_ack_then_the_enqueue(
    migrated_url: str, redis_url: str, author: Author
) -> None:
    async with (
        DelayingProxy.before(redis_url, up_ms=3, down_ms=3) as proxy,
        served(relay_settings(migrated_url, proxy.url(redis_url)), author) as live,
        live.started() as (answer, generation_id),
    ):
        await answer.hears(1)
        channel = keys.live(generation_id).encode()

        def place(direction: Direction, *words: bytes) -> int:
            """Where on the wire a message with all these words in it came by first."""
            for number, said in enumerate(conversation(proxy.passages)):
                message = said.message
                if said.direction is direction and isinstance(message, list):
                    flat = b" ".join(word for word in message if isinstance(word, bytes))
                    if all(word in flat for word in words):
                        return number
            raise AssertionError(f"never came by: {words}")

        job = f"{generation_id}:0".encode()
        await eventually(lambda: any(job in one.data for one in proxy.passages))
        subscribe = place(Direction.UP, b"SUBSCRIBE", channel)
        acknowledged = place(Direction.DOWN, b"subscribe", channel)
        enqueued = place(Direction.UP, job)
        assert subscribe < acknowledged < enqueued
        assert answer.events[0].id == "0.1.0"
    assert proxy.counts.delayed > 0


async def test_a_worker_that_publishes_at_once_loses_nothing_on_a_slow_link(
    migrated_url: str, redis_url: str, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing was missed, so nothing is read again")

    monkeypatch.setattr(past, "read_stream_row", never)
    async with (
        DelayingProxy.before(redis_url, up_ms=4, down_ms=4) as proxy,
        served(relay_settings(migrated_url, proxy.url(redis_url)), author) as live,
        open_pubsub(redis_url) as jobs,
    ):
        enqueued = asyncio.Event()
        listening = jobs.subscribe(keys.QUEUE, lambda _: enqueued.set(), lambda: None)
        assert await listening.wait(5)
        for _ in range(15):
            enqueued.clear()
            async with live.started() as (answer, generation_id):
                await enqueued.wait()
                log = await author.begin_id(generation_id)
                log.append_text("at once ")
                await author.flush()
                log.append_text("and at once the end")
                await author.end(log)
                queued, *told = await answer.finish()
                assert queued.id == "0.1.0"
                assert_is_the_rest(told, await author.log_of(log))
                assert answer.finished
    assert proxy.counts.delayed > 0


async def test_the_same_key_again_streams_from_the_start_and_is_never_204(live: Live) -> None:
    url = f"{live.url}/v1/generations?stream=true"
    headers = {"Idempotency-Key": "k"}
    async with ask(url, method="POST", body=CHAT, headers=headers) as answer:
        generation_id = answer.headers["location"].rsplit("/", 1)[1]
        log = await live.author.begin_id(generation_id)
        log.append_text("ChidÉ 🎉")
        await live.author.end(log)
        first = await answer.finish()
    for last in (None, first[-1].id):
        given = headers if last is None else {**headers, "Last-Event-ID": str(last)}
        async with ask(url, method="POST", body=CHAT, headers=given) as answer:
            assert answer.status == 200
            assert answer.headers["idempotent-replay"] == "true"
            assert_is_the_rest(await answer.finish(), await live.author.log_of(log))
