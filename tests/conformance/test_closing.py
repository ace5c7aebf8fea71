"""A database that is closed leaves no connection behind, and waits for no server that is gone."""

import asyncio
import logging
import time

import pytest
from sqlalchemy import text

from jobs.database import CommitUnknown, Database
from jobs.postgres_links import CLOSE_SECONDS
from tests.services import DelayingProxy, Direction, eventually

FAREWELL = b"X\x00\x00\x00\x04"
POOLED = 5


async def fill_the_pool(db: Database, proxy: DelayingProxy) -> None:
    """Has as many connections lie idle as are kept."""
    await asyncio.gather(*(db.fetch(text("SELECT pg_sleep(0.1)")) for _ in range(POOLED)))
    assert proxy.open_connections == POOLED


@pytest.mark.parametrize("dead", [tuple(Direction), (Direction.UP,), (Direction.DOWN,)])
async def test_idle_connections_over_a_dead_link_are_closed_in_bounded_time(
    postgres_url: str, dead: tuple[Direction, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """However many they are: the server is waited for once, and not for each."""
    async with DelayingProxy.before(postgres_url) as proxy:
        tasks = asyncio.all_tasks()
        async with Database.open(proxy.url(postgres_url)) as db:
            await fill_the_pool(db, proxy)
            serving = asyncio.all_tasks() - tasks
            proxy.black_hole(*dead)
            before = time.monotonic()
        assert time.monotonic() - before < (POOLED - 1) * CLOSE_SECONDS
        assert asyncio.all_tasks() - serving <= tasks
        assert [one.message for one in caplog.records if one.levelno >= logging.WARNING] == []
        proxy.heal()
        await eventually(lambda: not proxy.open_connections)


async def test_a_server_that_answers_is_told_over_each_connection_that_the_process_leaves(
    postgres_url: str,
) -> None:
    async with DelayingProxy.before(postgres_url) as proxy:
        async with Database.open(proxy.url(postgres_url)) as db:
            await fill_the_pool(db, proxy)
            proxy.forget()
        await eventually(lambda: not proxy.open_connections)
        told = {one.connection for one in proxy.passages if one.data == FAREWELL}
        assert len(told) == POOLED


async def test_a_database_that_is_to_be_given_up_later_answers_until_then(
    database_url: str,
) -> None:
    async with Database.open(database_url) as db:
        db.give_up_in(0.2)
        await db.fetch(text("SELECT 1"))

        async def is_given_up() -> bool:
            try:
                await db.fetch(text("SELECT 1"))
            except CommitUnknown:
                return True
            return False

        await eventually(is_given_up)
