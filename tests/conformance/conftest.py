"""Fixtures of the store's suite: a fresh database with the newest schema, opened."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.database import Database, migrate
from jobs.store import commits, intake
from jobs.tables import metadata
from tests.conformance.acts import Acts, acting
from tests.services import DelayingProxy, PostgresServer


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """The name of a migrated database."""
    name = postgres_server.create_database()
    asyncio.run(migrate(postgres_server.url(name)))
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, migrated_postgres: str) -> str:
    """The address of the migrated database, emptied: much faster than to make one a test."""
    tables = reversed(metadata.sorted_tables)
    deletions = "; ".join(f"DELETE FROM {table.name}" for table in tables)
    postgres_server.sql(deletions, migrated_postgres)
    return postgres_server.url(migrated_postgres)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "relay.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """The address of a fresh, migrated SQLite database."""
    path = tmp_path / "relay.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The database under test, open."""
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
async def acts(db: Database) -> Acts:
    """Short ways to do the common things, with a worker `wrk_1` registered."""
    acts = Acts(db)
    await acts.worker("wrk_1")
    return acts


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[DelayingProxy]:
    """The link to PostgreSQL, which a test breaks."""
    async with DelayingProxy.before(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[Acts]:
    """The database without the faulty link."""
    async with acting(postgres_url) as acts:
        yield acts


@pytest.fixture
async def far(
    postgres_url: str,
    proxy: DelayingProxy,
    direct: Acts,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Acts]:
    """The same database through the link, asked again after short pauses."""
    monkeypatch.setattr(commits, "_PAUSES_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(intake, "_PAUSES_SECONDS", (0.01, 0.05))
    async with Database.open(proxy.url(postgres_url)) as db:
        await db.fetch(text("SELECT 1"))
        yield Acts(db)
