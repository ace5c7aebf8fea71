"""A migration takes as long as PostgreSQL works at it, and keeps nobody waiting for a lock."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import database_engines
from jobs.database import Database, migrate, schema_is_current
from jobs.database_errors import refuses_setting
from jobs.errors import Unavailable
from jobs.migrations import patience, upgrade
from jobs.store.reads import read_owners
from jobs.store.workers import beat, register_worker
from tests.services import Child, DelayingProxy, PostgresServer, eventually

PROGRAM = Path(sys.executable).with_name("persona-relay")
LIMIT_SECONDS = 1.0
"""What a statement may take here, at the server and at this side."""
WORK_SECONDS = 2 * LIMIT_SECONDS
INDEXES = (
    "ix_persona_versions_generation_id",
    "ix_conversations_forked_from",
    "ix_personas_deleted_at",
    "ix_threads_generation_id",
    "ix_generations_running",
)
_SLOW = """
CREATE SEQUENCE indexed;
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN IF nextval('indexed') = 1 THEN PERFORM pg_sleep({seconds}); END IF; END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION slow();
"""
_UNTIL_TOLD = """
CREATE TABLE told (it int);
CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN WHILE NOT EXISTS (SELECT FROM told) LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;
CREATE EVENT TRIGGER wait ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION wait();
"""


class Old:
    """A database before its last two migrations, whose first statement over a table takes long."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.url = server.url(name)
        self._server, self._name = server, name

    def sql(self, statement: str) -> str:
        return self._server.sql(statement, self._name)

    def slow(self, seconds: float = WORK_SECONDS) -> None:
        self.sql(_SLOW.format(seconds=seconds))

    async def works(self) -> bool:
        """Whether a session makes an index now."""
        # In a thread: the migration that is waited for runs in this loop.
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        return await asyncio.to_thread(self.sql, asked) == "1"

    async def waits(self) -> str:
        """What sessions at this database work at, or wait for: an index, their turn."""
        asked = (
            "SELECT string_agg(wait_event, ' ' ORDER BY wait_event) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event IN ('PgSleep', 'advisory')"
        )
        return await asyncio.to_thread(self.sql, asked)

    async def rests(self) -> bool:
        """Whether none does."""
        return not await self.works()


@pytest.fixture
def old(postgres_server: PostgresServer, migrated_postgres: str) -> Iterator[Old]:
    name = postgres_server.create_database(migrated_postgres)
    old = Old(postgres_server, name)
    old.sql(f"DROP INDEX {', '.join(INDEXES)}; UPDATE alembic_version SET version_num = '0005'")
    yield old
    postgres_server.drop_database(name)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short limits of statements, and of silence in a transaction, at both sides."""
    monkeypatch.setattr(database_engines, "STATEMENT_SECONDS", LIMIT_SECONDS)
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    set_them = (f"set_config('{one}', '{round(LIMIT_SECONDS * 1000)}ms', false)" for one in limits)
    monkeypatch.setattr(database_engines, "_LIMIT", f"SELECT {', '.join(set_them)}")


async def test_a_migration_outlasts_the_limit_of_statements(hasty: None, old: Old) -> None:
    async def as_long(connection: AsyncConnection) -> None:
        await connection.execute(text(f"SELECT pg_sleep({WORK_SECONDS})"))

    old.slow()
    async with Database.open(old.url) as db:
        with pytest.raises(Unavailable):
            await db.write(as_long)
        before = time.monotonic()
        await migrate(old.url)
        assert time.monotonic() - before > WORK_SECONDS
        assert await schema_is_current(db)


async def test_who_migrates_beside_a_long_migration_waits_for_it(
    hasty: None, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "LOCK_SECONDS", 0.1)
    old.slow()
    done: tuple[list[int], list[int]] = ([], [])

    async def one(told: list[int]) -> None:
        await migrate(old.url, lambda count, _: told.append(count))

    await asyncio.gather(*map(one, done))
    assert sorted(done) == [[], [1, 2]]


async def test_workers_beat_and_generations_are_read_while_an_index_of_theirs_is_built(
    old: Old,
) -> None:
    # All but the last one are there: it is that of generations that takes long.
    await asyncio.to_thread(
        old.sql,
        "CREATE INDEX ix_persona_versions_generation_id ON persona_versions (generation_id);"
        f"UPDATE alembic_version SET version_num = '0006'; {_UNTIL_TOLD}",
    )
    async with Database.open(old.url) as db:
        await register_worker(db, "wrk_of_this_test", 1)
        migrating = asyncio.create_task(migrate(old.url))
        await eventually(old.works)
        assert (await beat(db, "wrk_of_this_test", 0)).held == {}
        assert await read_owners(db, ["gen_unknown"]) == {}
        assert not migrating.done()
        await asyncio.to_thread(old.sql, "INSERT INTO told VALUES (1)")
        await migrating
        assert await schema_is_current(db)


async def test_a_lock_that_somebody_keeps_ends_a_migration_soon_and_nothing_is_changed(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes to that table later would wait behind it."""
    monkeypatch.setattr(upgrade, "LOCK_SECONDS", 0.1)
    held, free = asyncio.Event(), asyncio.Event()

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(text("LOCK TABLE threads IN ROW EXCLUSIVE MODE"))
        held.set()
        await free.wait()

    async with Database.open(old.url) as db:
        holding = asyncio.create_task(db.write(hold))
        await held.wait()
        before = time.monotonic()
        with pytest.raises(patience.SchemaLocked, match="holds a lock"):
            await migrate(old.url)
        assert time.monotonic() - before < database_engines.STILL_SECONDS / 2
        assert not await schema_is_current(db)
        free.set()
        await holding
        await migrate(old.url)
        assert await schema_is_current(db)


async def test_a_migration_that_is_cancelled_is_broken_off_at_the_server_too(old: Old) -> None:
    old.slow(30)
    migrating = asyncio.create_task(migrate(old.url))
    await eventually(old.works, within=15)
    before = time.monotonic()
    migrating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await migrating
    assert time.monotonic() - before < 3
    await eventually(old.rests)
    async with Database.open(old.url) as db:
        assert not await schema_is_current(db)


async def test_of_killed_migrations_nothing_goes_on_at_the_server(old: Old, tmp_path: Path) -> None:
    """Neither the one that works, nor the one that waits for it."""

    async def both() -> bool:
        return await old.waits() == "PgSleep advisory"

    async def neither() -> bool:
        return await old.waits() == ""

    old.slow(60)
    environment = {**os.environ, "RELAY_DATABASE_URL": old.url}
    killed = [
        Child([PROGRAM, "migrate"], output=tmp_path / "said", env=environment, cwd=tmp_path)
        for _ in range(2)
    ]
    try:
        await eventually(both, within=30)
    finally:
        for one in killed:
            one.signal(signal.SIGKILL)
    for one in killed:
        one.wait()
        assert one.exit_code == -signal.SIGKILL
    await eventually(neither, within=10)
    async with Database.open(old.url) as db:
        assert not await schema_is_current(db)


@pytest.mark.parametrize(
    "check", [("client_connection_check_unheard_of", "2s"), (upgrade.CLIENT_CHECK[0], "never")]
)
async def test_a_server_that_can_not_look_after_its_client_is_migrated_too(
    check: tuple[str, str], old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One older than PostgreSQL 14, and one on a platform that can't."""
    refused: list[bool] = []

    def judged(error: BaseException | None) -> bool:
        refused.append(refuses_setting(error))
        return refused[-1]

    monkeypatch.setattr(upgrade, "CLIENT_CHECK", check)
    monkeypatch.setattr(upgrade, "refuses_setting", judged)
    await migrate(old.url)
    assert refused == [True]
    async with Database.open(old.url) as db:
        assert await schema_is_current(db)


async def test_a_migration_is_given_up_once_nothing_is_seen_of_its_session(
    hasty: None, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: over a link that is forgotten the server works on, and may yet be heard."""
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(patience, "LOST_SECONDS", 1.5 * LIMIT_SECONDS)
    old.slow(4 * LIMIT_SECONDS)
    async with DelayingProxy.before(old.url) as proxy:
        migrating = asyncio.create_task(migrate(proxy.url(old.url)))
        await eventually(old.works, within=15)
        proxy.forget_open()
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await migrating
        assert 3 * LIMIT_SECONDS < time.monotonic() - before < 20 * LIMIT_SECONDS
        assert proxy.counts.held


async def test_a_migration_whose_server_is_gone_is_given_up(
    hasty: None, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(patience, "LOST_SECONDS", LIMIT_SECONDS)
    old.slow()
    async with DelayingProxy.before(old.url) as proxy:
        migrating = asyncio.create_task(migrate(proxy.url(old.url)))
        await eventually(old.works, within=15)
        proxy.black_hole()
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await migrating
        assert time.monotonic() - before < 15
        assert proxy.counts.held
