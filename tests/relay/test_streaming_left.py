"""A stream that is left, never read or cut off leaves nothing behind."""

import asyncio
import signal
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from freezegun import freeze_time
from starlette.applications import Starlette
from starlette.types import Message, Scope

from jobs.attempt_log import AttemptLog
from jobs.events import Notice
from relay import event_stream, listening
from relay.app import create_app
from relay.connections import Connection
from relay.event_stream import SEND_TIMEOUT_SECONDS
from relay.follow import Follower
from relay.listening import Address, listen
from relay.streaming import stream_events
from tests.relay.heard import assert_is_the_rest
from tests.relay.live import Live, relay_settings, served
from tests.relay.raw_reader import ask
from tests.relay.stage import Author, authoring
from tests.services import Child, eventually, free_port, live_server


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
    response = await stream_events(
        live.services, Follower(live.services.sources, log.generation_id)
    )
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
        response = await stream_events(
            live.services, Follower(live.services.sources, log.generation_id)
        )
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
    follower = Follower(live.services.sources, log.generation_id)
    joining = asyncio.create_task(stream_events(live.services, follower))
    await waits.wait()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert live.services.sources.pulse.streams == 0


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
