"""A stream on the wire: its head, its chunks, how it ends, and what it leaves behind."""

import asyncio
import json
import re
import signal
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from freezegun import freeze_time
from starlette.applications import Starlette
from starlette.types import Message, Scope

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.database import migrate
from jobs.errors import Unavailable
from jobs.events import Notice
from jobs.pubsub import open_pubsub
from relay import event_stream, listening, past
from relay.app import create_app
from relay.connections import Connection
from relay.event_stream import SEND_TIMEOUT_SECONDS
from relay.follow import Follower
from relay.listening import Address, listen
from relay.services import Services
from relay.settings import RelaySettings, read_relay_settings
from relay.streaming import stream_events
from tests.relay.heard import assert_is_the_rest, heard, retries
from tests.relay.raw_reader import RawAnswer, ask
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, authoring
from tests.services import Child, DelayingProxy, Direction, eventually, free_port, live_server
from tests.services.resp import conversation

CHAT = json.dumps({"kind": "chat", "input": "hello"}).encode()


@dataclass(frozen=True, slots=True)
class Live:
    """A relay behind a real server, and who writes what it reads."""

    url: str
    services: Services
    author: Author

    def events_url(self, generation_id: str) -> str:
        """Where its events are."""
        return f"{self.url}/v1/generations/{generation_id}/events"

    @asynccontextmanager
    async def follow(self, log: AttemptLog, cursor: object = None) -> AsyncIterator[RawAnswer]:
        """A reader whose chunks are read in a task."""
        headers = {} if cursor is None else {"Last-Event-ID": str(cursor)}
        async with ask(self.events_url(log.generation_id), headers=headers) as answer:
            answer.start()
            yield answer

    @asynccontextmanager
    async def started(self) -> AsyncIterator[tuple[RawAnswer, str]]:
        """A POST that streams, and the id of what it started."""
        url = f"{self.url}/v1/generations?stream=true"
        async with ask(url, method="POST", body=CHAT) as answer:
            assert answer.status == 200
            answer.start()
            yield answer, answer.headers["location"].rsplit("/", 1)[1]


def relay_settings(database_url: str, redis_url: str, **variables: str) -> RelaySettings:
    """A relay's settings without authorization."""
    environment = {
        "RELAY_AUTH": "off",
        "RELAY_MODEL": "none",
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
    }
    return read_relay_settings({**environment, **variables})


@asynccontextmanager
async def served(settings: RelaySettings, author: Author) -> AsyncIterator[Live]:
    """This relay, live, over the author's servers."""
    app: Starlette = create_app(settings)
    async with live_server(app) as url:
        # The local owner reads what the relay stores and what the author stores alike.
        yield Live(url, app.state.services, author)


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
    async with served(settings, author) as live:
        log = await author.running()
        async with live.follow(log) as answer:
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


async def test_a_reader_that_goes_away_frees_what_it_held(live: Live) -> None:
    log = await live.author.running()
    sources, slots = live.services.sources, live.services.slots
    for _ in range(3):
        async with live.follow(log) as answer, live.follow(log) as other:
            await answer.hears(1)
            await other.hears(1)
            assert (sources.hub.channels, sources.pulse.streams) == (1, 4)
            answer.leave()
            await eventually(lambda: sources.pulse.streams == 2)
            assert sources.hub.channels == 1
        await eventually(lambda: sources.pulse.streams == 0)
        assert sources.hub.channels == slots.open_streams("local") == 0


async def test_a_stream_that_was_never_started_frees_what_it_held(live: Live) -> None:
    log = await live.author.running()
    sources = live.services.sources

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def refuses(message: Message) -> None:
        raise OSError("the reader is gone")

    scope: Scope = {"type": "http", "method": "GET"}
    response = await stream_events(live.services, log.generation_id, None)
    assert (sources.hub.channels, sources.pulse.streams) == (1, 1)
    with pytest.raises(OSError, match="the reader is gone"):
        await response(scope, receive, refuses)
    assert (sources.hub.channels, sources.pulse.streams) == (0, 0)
    follower = Follower(sources, log.generation_id)
    await follower.join()
    follower.close()
    assert (sources.hub.channels, sources.pulse.streams) == (0, 0)


async def test_a_send_that_nobody_takes_is_given_up_by_the_clock(live: Live) -> None:
    log = await live.author.running()
    log.append_text("untaken")
    await live.author.flush()
    sources = live.services.sources
    sending = asyncio.Event()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    scope: Scope = {"type": "http", "method": "GET"}
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        response = await stream_events(live.services, log.generation_id, None)
        answering = asyncio.create_task(response(scope, receive, stuck))
        await sending.wait()
        clock.tick(SEND_TIMEOUT_SECONDS - 1)
        sources.pulse.tick()
        await asyncio.wait([answering], timeout=0.05)
        assert not answering.done()
        clock.tick(1)
        async with asyncio.timeout(5):
            await answering
    assert (sources.hub.channels, sources.pulse.streams) == (0, 0)
    assert sources.pulse.cut_off == 1


async def test_a_join_that_is_cancelled_frees_what_it_held(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    async def never(_: Follower) -> bool:
        waits.set()
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(Follower, "join", never)
    log = await live.author.running()
    joining = asyncio.create_task(stream_events(live.services, log.generation_id, None))
    await waits.wait()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert live.services.sources.pulse.streams == 0


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


async def test_a_reader_that_never_reads_is_cut_off_and_costs_little(
    migrated_url: str, redis_url: str, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT_SECONDS", 0.7)
    monkeypatch.setattr(listening, "DEAD_READER_MILLISECONDS", 1_000)

    def bounded(*_: object, **__: object) -> socket.socket:
        return listen(Address("127.0.0.1", 0))

    async def write(log: AttemptLog) -> int:
        """The most memory that was in use while this was written."""
        tracemalloc.start()
        try:
            for number in range(400):
                log.append("notice", Notice("n", f"{number} " * 4_000))
                await author.flush()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with monkeypatch.context() as patched:
        patched.setattr(socket, "create_server", bounded)
        settings = relay_settings(migrated_url, redis_url)
        async with served(settings, author) as live:
            unread = await author.running()
            without = await write(unread)
            log = await author.running()
            await author.flush()
            url = live.events_url(log.generation_id)
            async with ask(url, receive_buffer=4096) as answer:
                port = answer.writer.get_extra_info("sockname")[1]
                answer.writer.transport.pause_reading()  # type: ignore[attr-defined]
                # Both wrote the same; the second one's readers are all that differs.
                with_reader = await write(log)
                await eventually(lambda: not is_connected(live.url, port), within=10)
                await eventually(lambda: live.services.sources.pulse.streams == 0)
            ended = await author.end(log)
            assert with_reader - without < 1 << 20
            assert ended.state == "completed"
            async with live.follow(log) as again:
                assert_is_the_rest(await again.finish(), await author.log_of(log))


async def test_a_reader_that_the_kernel_drops_counts_as_cut_off(
    migrated_url: str, redis_url: str, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "DEAD_READER_MILLISECONDS", 500)
    listener = listen(Address("127.0.0.1", 0))
    monkeypatch.setattr(socket, "create_server", lambda *_, **__: listener)
    app: Starlette = create_app(relay_settings(migrated_url, redis_url))
    async with live_server(app, http=Connection) as url:
        log = await author.running()
        await author.flush()
        events = f"{url}/v1/generations/{log.generation_id}/events"
        async with ask(events, receive_buffer=4096) as answer:
            answer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            pulse = app.state.services.sources.pulse
            # More than the reader's own buffers hold, and less than would make a send wait.
            for number in range(6):
                log.append("notice", Notice("n", f"{number} " * 2_000))
            await author.flush()
            await eventually(lambda: pulse.cut_off == 1, within=15)
            await eventually(lambda: pulse.streams == 0)
        async with ask(f"{url}/healthz") as answer:
            await answer.read()
    assert pulse.cut_off == 1


def is_connected(url: str, port: int) -> bool:
    """Whether the server still has a socket to the client at this port."""
    serving = int(url.rsplit(":", 1)[1])
    return any(
        bool(link.raddr) and link.laddr.port == serving and link.raddr.port == port
        for link in psutil.Process().net_connections("tcp")
    )


async def test_a_stopping_server_cuts_its_streams_off_and_ends_soon(
    migrated_url: str, redis_url: str, author: Author, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "PATH": "",
        "RELAY_AUTH": "off",
        "RELAY_MODEL": "none",
        "RELAY_DATABASE_URL": migrated_url,
        "RELAY_REDIS_URL": redis_url,
    }
    command = Path(sys.executable).with_name("persona-relay")
    argv = [str(command), "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with Child(argv, output=tmp_path / "serve.log", env=environment) as relay:
        await eventually(lambda: accepts(port) or relay.exit_code is not None, within=20)
        assert relay.exit_code is None, relay.text()
        log = await author.running()
        log.append_text("before ")
        await author.flush()
        async with (
            ask(f"{url}/v1/generations/{log.generation_id}/events") as answer,
            ask(f"{url}/v1/feed") as feed,
        ):
            for one in (answer, feed):
                one.start()
            await answer.hears(2)
            await eventually(lambda: bool(feed.chunks))
            relay.signal(signal.SIGTERM)
            told = await answer.finish()
            await feed.finish()
            assert [one.event for one in told] == ["status", "token"]
            assert not answer.finished
            assert not feed.finished
        assert await asyncio.to_thread(relay.wait, 8) in (0, -signal.SIGTERM)
        assert "Traceback" not in relay.text()


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
