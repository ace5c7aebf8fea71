"""The migrations make exactly the declared tables, whoever runs them, and how often."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from jobs.database import Database, migrate, schema_is_current
from jobs.settings import InvalidSetting
from jobs.tables import metadata
from tests.services import PostgresServer


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return list(compare_metadata(context, metadata))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without a schema."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/deep/in/empty.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url(server.create_database("template0"))


@pytest.fixture
async def own(empty_url: str) -> AsyncIterator[Database]:
    """A migrated database that the test may spoil."""
    await migrate(empty_url)
    async with Database.open(empty_url) as database:
        yield database


async def test_the_migrations_make_exactly_the_declared_tables(own: Database) -> None:
    async with own.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_comparison_finds_a_dropped_index(own: Database) -> None:
    await own.write_one(text("DROP INDEX ix_generations_line"))
    async with own.read() as connection:
        assert len(await connection.run_sync(differences)) == 1


async def test_five_migrations_at_once_are_harmless(empty_url: str) -> None:
    async with Database.open(empty_url) as db:
        assert not await schema_is_current(db)
        await asyncio.gather(*(migrate(empty_url) for _ in range(5)))
        assert await schema_is_current(db)
        await migrate(empty_url)
        assert await schema_is_current(db)


async def test_a_database_of_another_version_is_not_current(own: Database) -> None:
    await own.write_one(text("UPDATE alembic_version SET version_num = 'another'"))
    assert not await schema_is_current(own)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite+aiosqlite:///:memory:",
     "postgresql://h:port/d", "sqlite:////proc/nowhere/relay.db"],
)  # fmt: skip
async def test_an_unusable_address_names_the_variable(url: str) -> None:
    with pytest.raises(InvalidSetting, match="RELAY_DATABASE_URL"):
        await migrate(url)
