"""Once a relay has rehearsed, its first reader waits for no compiler and no connection."""

import asyncio
import logging
from typing import Any

import pytest

from jobs import redis_pipeline, sqlite_statements
from jobs.database import Database
from jobs.redis_wire import open_wire
from jobs.store.reads import read_stream_row
from relay import services
from relay.rehearsal import rehearse
from relay.services import connect
from tests.relay.conftest import OpenRelay
from tests.relay.live import relay_settings
from tests.relay.stage import authoring, reading_side


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why rehearsals broke off."""
    named = [one for one in caplog.records if one.name == "relay.rehearsal"]
    return [vars(one)["reason"] for one in named]


async def test_the_first_reader_makes_no_connection_and_compiles_nothing(
    migrated_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    compile_, open_ = sqlite_statements._prepare, open_wire

    def compiled(*arguments: Any) -> Any:
        done.append("compiled")
        return compile_(*arguments)

    async def opened(*arguments: Any) -> Any:
        done.append("connected")
        return await open_(*arguments)

    monkeypatch.setattr(sqlite_statements, "_prepare", compiled)
    monkeypatch.setattr(redis_pipeline, "open_wire", opened)
    async with (
        authoring(migrated_url, redis_url) as author,
        reading_side(migrated_url, redis_url) as side,
    ):
        log = await author.running()
        await author.flush()
        await rehearse(side.sources.database, side.sources)
        assert {"compiled", "connected"} <= set(done)
        done.clear()
        assert await read_stream_row(side.sources.database, log.generation_id, lease_seconds=10)
        assert await side.sources.stream_log.read_newest(log.generation_id, None)
        assert done == []


async def test_what_is_not_up_yet_is_left_to_the_first_reader(
    migrated_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "relay.rehearsal")
    nowhere = "redis://127.0.0.1:1/0"
    settings = relay_settings(migrated_url, nowhere)
    async with Database.open(migrated_url) as db, connect(settings, db) as opened:
        await rehearse(db, opened.sources)
        assert reasons(caplog) == ["ConnectionRefusedError"]
    caplog.clear()
    unmade = migrated_url.replace("relay.db", "another.db")
    async with Database.open(unmade) as db, connect(settings, db) as opened:
        await rehearse(db, opened.sources)
        assert reasons(caplog) == ["OperationalError"]


async def test_a_relay_rehearses_when_it_starts(
    open_relay: OpenRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsed = asyncio.Event()

    async def noted(*arguments: Any) -> None:
        await rehearse(*arguments)
        rehearsed.set()

    monkeypatch.setattr(services, "rehearse", noted)
    async with open_relay(), asyncio.timeout(5):
        await rehearsed.wait()
