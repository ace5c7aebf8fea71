"""A projection is fed the same events live, replayed, and from SQL; its stream is never short."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, example, given, settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.database import migrate
from jobs.events import Ended, FileDelta, LoggedData, Reset, Token
from jobs.generation import State, encode
from jobs.store.reads import read_stream_row
from relay.app import create_app
from relay.protocols.following import stream_projected, wait_for_end
from relay.protocols.projection import PING
from relay.services import Services
from relay.settings import RelaySettings, read_relay_settings
from tests.relay.raw_reader import RawAnswer, ask
from tests.relay.scripts import REFINE, Say, Script, play, scripts
from tests.relay.stage import Author, authoring
from tests.services import DelayingProxy, eventually, live_server

few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Echo:
    """Tells every event that is no preview as a line of its own."""

    def tell(self, cursor: Cursor, data: LoggedData) -> bytes:
        if isinstance(data, FileDelta):
            return b""
        name = type(data).__name__.encode()
        return b"data: %s %s %s\n\n" % (str(cursor).encode(), name, encode(data))


@dataclass(frozen=True, slots=True)
class Live:
    """A live relay with a route that echoes."""

    url: str
    services: Services

    @asynccontextmanager
    async def follow(self, log: AttemptLog) -> AsyncIterator[RawAnswer]:
        """A reader of the echo, read in a task."""
        async with ask(f"{self.url}/echo/{log.generation_id}") as answer:
            answer.start()
            yield answer

    async def told(self, log: AttemptLog) -> bytes:
        """All that a reader is told until the end, which must be a proper one."""
        async with self.follow(log) as answer:
            return await whole(answer)


async def whole(answer: RawAnswer) -> bytes:
    """Everything of this answer but pings, once it has ended properly."""
    assert answer.task is not None
    await answer.task
    assert answer.finished
    return b"".join(answer.chunks).replace(PING, b"")


@asynccontextmanager
async def served(relay_settings: RelaySettings) -> AsyncIterator[Live]:
    """A relay with these settings, and the echo."""
    app = create_app(relay_settings)

    async def echo(request: Request) -> Response:
        services: Services = app.state.services
        generation_id = request.path_params["id"]
        row = await read_stream_row(services.db, generation_id, lease_seconds=10)
        return await stream_projected(services, generation_id, Echo(), row)

    app.router.routes.append(Route("/echo/{id}", echo))
    async with live_server(app) as url:
        yield Live(url, app.state.services)


def settings_of(database_url: str, redis_url: str, **variables: str) -> RelaySettings:
    environment = {
        "RELAY_AUTH": "off",
        "RELAY_MODEL": "none",
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
    }
    return read_relay_settings({**environment, **variables})


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url, owner="local") as author:
        yield author


@pytest.fixture
async def live(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[Live]:
    """A live relay."""
    async with served(settings_of(migrated_url, redis_url)) as live:
        yield live


@few
@given(past=scripts, future=scripts)
@example(past=REFINE, future=REFINE)
@example(past=[Say("a"), Say("b")], future=[])
async def test_what_was_told_live_is_told_again_with_the_same_bytes(
    live: Live, author: Author, past: Script, future: Script
) -> None:
    queued = await author.queued()
    async with ask(f"{live.url}/echo/{queued.id}") as first:
        first.start()
        await eventually(lambda: bool(first.chunks))
        log = await author.begin(queued)
        await play(author, log, past)
        async with live.follow(log) as second:
            await play(author, log, future)
            await author.end(log)
            heard_live = (await whole(first)).removeprefix(
                b'data: 0.1.0 Status {"state":"queued","attempt":0}\n\n'
            )
            assert await whole(second) == heard_live
    assert heard_live.startswith(b"data: 1.1.0 Status ")
    assert await live.told(log) == heard_live
    await author.lose_log(log)
    assert await live.told(log) == heard_live


async def test_past_tokens_are_told_one_by_one(live: Live, author: Author) -> None:
    log = await author.running()
    for word in ("one ", "two ", "three"):
        log.append_text(word)
        await author.flush()
    await author.end(log)
    assert (await live.told(log)).count(b" Token ") == 3


async def test_silence_is_bridged_with_comments_and_never_ends_the_stream(
    migrated_url: str, redis_url: str, author: Author
) -> None:
    variables = {"RELAY_IDLE_TIMEOUT_SECONDS": "30", "RELAY_HEARTBEAT_SECONDS": "10"}
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        async with served(settings_of(migrated_url, redis_url, **variables)) as live:
            log = await author.running()
            async with live.follow(log) as answer:
                await eventually(lambda: bool(answer.chunks))
                for number in (1, 2, 3, 4):
                    clock.tick(11)
                    await eventually(lambda n=number: answer.chunks.count(PING) == n)
                await author.end(log)
                told = await whole(answer)
    assert answer.chunks[0].startswith(b"data: ")
    assert b"\nretry:" not in told
    assert told.endswith(b"\n\n")
    assert b" Ended " in told.split(b"\n\n")[-2]


async def test_a_second_attempt_is_told_after_its_reset(live: Live, author: Author) -> None:
    queued = await author.queued()
    lost = await author.begin(queued)
    lost.append_text("of the first")
    await author.flush()
    async with live.follow(lost) as answer:
        await eventually(lambda: b"of the first" in b"".join(answer.chunks))
        log = await author.begin(queued, seen=1)
        log.append_text("of the second")
        await author.end(log)
        told = (await whole(answer)).split(b"\n\n")
    names = [one.split(b" ")[2].decode() for one in told if one]
    again = [Reset.__name__, "Status", Token.__name__, Ended.__name__]
    assert names == ["Status", "Token", *again]
    assert [one.split(b" ")[2].decode() for one in (await live.told(log)).split(b"\n\n")[:-1]] == (
        again
    )


async def test_where_the_end_can_not_be_told_the_stream_is_cut_and_says_nothing(
    postgres_url: str, redis_url: str
) -> None:
    await migrate(postgres_url)
    async with (
        DelayingProxy.before(postgres_url) as proxy,
        authoring(postgres_url, redis_url, owner="local") as author,
        served(settings_of(proxy.url(postgres_url), redis_url)) as live,
    ):
        log = await author.running()
        await author.end(log)
        await author.lose_log(log)
        app_row = await read_stream_row(live.services.db, log.generation_id, lease_seconds=10)
        assert app_row is not None
        response = await stream_projected(live.services, log.generation_id, Echo(), app_row)
        proxy.refuse()
        proxy.abort()
        sent = await sent_by(response)
    assert proxy.counts.refused > 0
    assert [one["type"] for one in sent] == ["http.response.start"]


async def sent_by(response: Response) -> list[dict[str, object]]:
    """The messages of this response to a reader who stays."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    await response({"type": "http", "method": "GET"}, receive, send)
    return sent


async def test_the_wait_for_an_end_is_over_with_the_commit_and_leaves_nothing_behind(
    live: Live, author: Author
) -> None:
    log = await author.running()
    waiting = asyncio.create_task(wait_for_end(live.services, log.generation_id))
    await eventually(lambda: live.services.sources.hub.channels == 1)
    log.append_text("text")
    await author.flush()
    assert not waiting.done()
    await author.end(log, State.FAILED)
    async with asyncio.timeout(5):
        await waiting
        await wait_for_end(live.services, log.generation_id)
    assert live.services.sources.hub.channels == live.services.sources.pulse.streams == 0
