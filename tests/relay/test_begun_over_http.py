"""How a stream begins by HTTP: from its row or its log, whichever tells first what it may show."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs.store.reads import StreamRow, read_stream_row
from jobs.stream_log import LogPage, StreamLog
from relay.routes import generations
from tests.relay.edge import EdgeRelay
from tests.relay.live import Live, relay_settings, served
from tests.relay.scripts import REFINE, play
from tests.relay.stage import authoring
from tests.relay.test_presumed import erase
from tests.services import eventually


@pytest.fixture
async def live(migrated_url: str, redis_url: str) -> AsyncIterator[Live]:
    """A relay behind a real server, and who writes for its only owner."""
    async with (
        authoring(migrated_url, redis_url, owner="local") as author,
        served(relay_settings(migrated_url, redis_url), author) as live,
    ):
        yield live


@pytest.fixture
def row_allowed(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until it is set, no reader's row is read."""
    allowed = asyncio.Event()

    async def later(*arguments: Any, **options: Any) -> StreamRow | None:
        async with asyncio.timeout(10):
            await allowed.wait()
        return await read_stream_row(*arguments, **options)

    monkeypatch.setattr(generations, "read_stream_row", later)
    return allowed


async def test_the_log_is_read_while_the_row_is(
    migrated_url: str, redis_url: str, relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_log = asyncio.Event()
    read_newest = StreamLog.read_newest

    async def noted(self: StreamLog, *arguments: Any) -> LogPage | None:
        page = await read_newest(self, *arguments)
        read_log.set()
        return page

    async def later(*arguments: Any, **options: Any) -> StreamRow | None:
        async with asyncio.timeout(5):
            await read_log.wait()
        return await read_stream_row(*arguments, **options)

    monkeypatch.setattr(StreamLog, "read_newest", noted)
    monkeypatch.setattr(generations, "read_stream_row", later)
    async with authoring(migrated_url, redis_url, owner="local") as author:
        log = await author.running()
        await play(author, log, REFINE)
        await author.end(log)
        answer = await relay.client.get(f"/v1/generations/{log.generation_id}/events")
    assert answer.status_code == 200
    assert "event: completed" in answer.text


async def test_a_stream_that_is_refused_leaves_nothing_behind(
    migrated_url: str, redis_url: str, relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, never = relay.services.sources, asyncio.Event()

    async def hangs(self: StreamLog, *arguments: Any) -> None:
        await never.wait()

    monkeypatch.setattr(StreamLog, "read_newest", hangs)
    async with authoring(migrated_url, redis_url, owner="another") as author:
        log = await author.running()
        before = asyncio.all_tasks()
        for generation_id in (log.generation_id, "gen_00000000000000000000000000"):
            answer = await relay.client.get(f"/v1/generations/{generation_id}/events")
            assert answer.status_code == 404
        await eventually(lambda: sources.hub.channels == 0)
        assert sources.pulse.streams == 0
        await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_stream_of_a_known_owner_begins_before_its_row_is_read(
    live: Live, row_allowed: asyncio.Event
) -> None:
    log = await live.author.running()
    await play(live.author, log, REFINE)
    await live.author.flush()
    live.services.owners.note(log.generation_id, "local")
    async with live.follow(log) as answer:
        await eventually(lambda: [one.cursor.seq for one in answer.events[-1:]] == [log.seq])
        row_allowed.set()
        await live.author.end(log)
        assert (await answer.finish())[-1].event == "completed"


async def test_who_started_it_or_followed_it_is_known_while_it_runs(
    migrated_url: str, redis_url: str, relay: EdgeRelay
) -> None:
    owners = relay.services.owners
    started = await relay.chat()
    assert owners.recall(started["id"]) == "local"
    async with authoring(migrated_url, redis_url, owner="local") as author:
        log = await author.running()
        address = f"/v1/generations/{log.generation_id}/events"
        assert owners.recall(log.generation_id) is None
        assert (await relay.client.head(address)).status_code == 200
        assert owners.recall(log.generation_id) == "local"
        await author.end(log)
        assert (await relay.client.get(address)).status_code == 200
        assert owners.recall(log.generation_id) is None


async def test_what_was_known_and_is_gone_is_not_found(
    migrated_url: str, redis_url: str, relay: EdgeRelay
) -> None:
    async with authoring(migrated_url, redis_url, owner="local") as author:
        log = await author.running()
        await author.end(log)
        relay.services.owners.note(log.generation_id, "local")
        await erase(relay.services.db, log.generation_id)
        for _ in range(2):
            answer = await relay.client.get(f"/v1/generations/{log.generation_id}/events")
            assert answer.status_code == 404
        assert relay.services.owners.recall(log.generation_id) is None


async def test_another_owners_is_not_found_whoever_is_known(
    migrated_url: str, redis_url: str, relay: EdgeRelay
) -> None:
    async with authoring(migrated_url, redis_url, owner="another") as author:
        log = await author.running()
        await author.flush()
        address = f"/v1/generations/{log.generation_id}/events"
        for _ in range(2):
            assert (await relay.client.get(address)).status_code == 404
        assert relay.services.owners.recall(log.generation_id) == "another"


async def test_a_stream_is_cut_where_the_row_says_that_it_is_another_owners(
    migrated_url: str, redis_url: str
) -> None:
    async with (
        authoring(migrated_url, redis_url, owner="another") as author,
        served(relay_settings(migrated_url, redis_url), author) as live,
    ):
        log = await author.running()
        await author.flush()
        # Nothing notes this: what the answer rests on is looked at again all the same.
        live.services.owners.note(log.generation_id, "local")
        async with live.follow(log) as answer:
            told = await answer.finish()
            assert not answer.finished
            log.append_text("not for them ")
            await author.flush()
            assert [one.event for one in told] == ["status"]
        assert live.services.owners.recall(log.generation_id) == "another"


async def test_the_end_that_was_seen_is_no_content_for_a_known_owner(
    migrated_url: str, redis_url: str, relay: EdgeRelay
) -> None:
    async with authoring(migrated_url, redis_url, owner="local") as author:
        log = await author.running()
        await author.end(log)
        last = (await author.log_of(log))[-1].cursor
        relay.services.owners.note(log.generation_id, "local")
        answer = await relay.client.get(
            f"/v1/generations/{log.generation_id}/events", headers={"Last-Event-ID": str(last)}
        )
        assert answer.status_code == 204
