"""The database fixtures give a fresh, real database of each kind to each test."""

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.services import PostgresServer


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_a_fresh_database(database_url: str, turn: int) -> None:
    engine = create_async_engine(database_url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE seen (turn INTEGER)"))
            await connection.execute(text("INSERT INTO seen VALUES (:turn)"), {"turn": turn})
            assert (await connection.scalars(text("SELECT turn FROM seen"))).all() == [turn]
    finally:
        await engine.dispose()


async def test_a_database_may_be_copied_from_a_template(postgres_server: PostgresServer) -> None:
    template = postgres_server.create_database()
    postgres_server.sql("CREATE TABLE migrated (id INTEGER)", template)
    copy = postgres_server.create_database(template)
    assert postgres_server.sql("SELECT count(*) FROM migrated", copy) == "0"
    for name in (copy, template):
        postgres_server.drop_database(name)


async def test_a_restarted_postgres_cuts_its_connections_and_keeps_what_was_committed(
    start_postgres: Callable[..., PostgresServer],
) -> None:
    server = start_postgres()
    engine = create_async_engine(server.url())
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE kept (id INTEGER)"))
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            first = server.pid
            server.restart()
            assert server.pid != first
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT 1"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM kept")) == 0
    finally:
        await engine.dispose()
