"""What is written ahead of the disk is seen at once, told once stored, and waits for nobody."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import CommitUnknown, Database, Early, UniqueViolation, stored
from jobs.database_engines import BUSY_SECONDS
from jobs.errors import Unavailable
from jobs.sqlite_early import EarlyWrites
from jobs.sqlite_thread import ThreadWork
from jobs.store.claims import claim
from jobs.store.intake import Budget
from jobs.store.requests import Thread
from tests.conformance.acts import LEASE, Acts
from tests.services import HeldDisk, eventually

TOKENS = Budget(owner_tokens=1000)
ADD = "INSERT INTO conversations (id, owner, created_at) VALUES (:id, 'ann', 7)"


@pytest.fixture
async def db(sqlite_url: str) -> AsyncIterator[Database]:
    """A database that another connection has put in WAL mode."""
    async with Database.open(sqlite_url) as database:
        await database.fetch(text("SELECT 1"))
        yield database


@pytest.fixture
async def other(db: Database, sqlite_url: str) -> AsyncIterator[Database]:
    """The same database, as another process has it."""
    async with Database.open(sqlite_url) as database:
        yield database


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which early writes came to their end."""
    threads: list[int] = []
    transact = EarlyWrites.transact

    def noted(self: EarlyWrites, early: Early, work: Any) -> Any:
        done = transact(self, early, work)
        threads.append(threading.get_ident())
        return done

    monkeypatch.setattr(EarlyWrites, "transact", noted)
    return threads


async def add(db: Database, name: str) -> asyncio.Future[None] | None:
    """Stores a conversation early; done once that is on the disk, if it is not yet."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(ADD), {"id": name})

    early = Early()
    await db.write_at_once(work, early=early)
    return early.settling


async def names(db: Database) -> list[str]:
    """The conversations that are stored."""
    rows = await db.fetch(text("SELECT id FROM conversations ORDER BY id"))
    return [row.id for row in rows]


async def test_what_is_written_early_is_seen_by_all_before_it_is_on_the_disk(
    db: Database, other: Database, disk: HeldDisk, here: list[int]
) -> None:
    disk.goes_on.clear()
    settling = await add(db, "c1")
    assert here == [threading.get_ident()]
    await eventually(lambda: disk.asked == 1)
    assert await names(other) == ["c1"]
    assert settling is not None
    assert not settling.done()
    disk.goes_on.set()
    await stored(settling)


async def test_what_is_stored_survives_a_loss_of_power(
    db: Database, disk: HeldDisk, tmp_path: Path
) -> None:
    await stored(await add(db, "c1"))
    disk.goes_on.clear()
    settling = await add(db, "c2")
    await eventually(lambda: disk.asked == 2)
    async with Database.open(disk.survivor(tmp_path / "relay.db")) as left:
        assert await names(left) == ["c1"]
    disk.goes_on.set()
    await stored(settling)
    async with Database.open(disk.survivor(tmp_path / "relay.db")) as left:
        assert await names(left) == ["c1", "c2"]


async def test_one_statement_goes_early_too_and_gives_its_rows(
    db: Database, other: Database, disk: HeldDisk, here: list[int]
) -> None:
    disk.goes_on.clear()
    early = Early()
    rows = await db.write_one(text(f"{ADD} RETURNING id"), {"id": "c1"}, early=early)
    assert [row.id for row in rows] == ["c1"]
    assert len(here) == 1
    assert await names(other) == ["c1"]
    assert early.settling is not None


async def test_where_another_connection_writes_it_waits_in_its_thread(
    db: Database, here: list[int], tmp_path: Path
) -> None:
    writer = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(add(db, "c1"))
    # The loop goes on meanwhile.
    done, _ = await asyncio.wait({adding}, timeout=0.1)
    assert not done
    writer.execute("COMMIT")
    # Its own commit syncs it.
    assert await asyncio.wait_for(adding, BUSY_SECONDS) is None
    assert here == []
    assert await names(db) == ["c1"]
    await add(db, "c2")
    assert len(here) == 1
    writer.close()


async def test_nothing_is_written_in_passing_to_a_disk_that_is_slow(
    db: Database, disk: HeldDisk, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.disk_sync.SLOW_SECONDS", -1.0)
    disk.goes_on.clear()
    await add(db, "c1")
    await add(db, "c2")
    assert len(here) == 1
    assert await names(db) == ["c1", "c2"]


async def test_without_a_log_that_all_append_to_nothing_is_written_early(
    db: Database, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutLog(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            return super().execute(
                sql.replace("PRAGMA journal_mode", "SELECT 'delete'"), *arguments
            )

    connect = sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=WithoutLog, **options)

    monkeypatch.setattr(sqlite3, "connect", connected)
    await add(db, "c1")
    assert here == []
    assert await names(db) == ["c1"]


async def test_work_that_fails_stores_nothing_and_the_next_goes_early_again(
    db: Database, here: list[int]
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(ADD), {"id": "c1"})
        raise LookupError

    early = Early()
    with pytest.raises(LookupError):
        await db.write_at_once(work, early=early)
    assert await names(db) == []
    assert early.settling is None
    await add(db, "c1")
    assert len(here) == 1


async def test_a_unique_constraint_refuses_it_as_everywhere(db: Database, here: list[int]) -> None:
    await add(db, "c1")
    with pytest.raises(UniqueViolation):
        await add(db, "c1")
    await add(db, "c2")
    assert len(here) == 2


async def test_a_disk_that_refuses_a_sync_leaves_the_commit_unknown(
    db: Database, disk: HeldDisk
) -> None:
    disk.error = OSError(5, "Input/output error")
    settling = await add(db, "c1")
    with pytest.raises(CommitUnknown):
        await stored(settling)


async def test_a_full_database_refuses_it_and_takes_it_once_there_is_room(
    db: Database, here: list[int]
) -> None:
    await add(db, "c1")
    early = db._early
    assert early is not None
    assert early._connection is not None
    (pages,) = early._connection.execute("PRAGMA page_count").fetchone()
    early._connection.execute(f"PRAGMA max_page_count={pages}")

    async def much(connection: AsyncConnection) -> None:
        for number in range(500):
            await connection.execute(text(ADD), {"id": f"{number} {'x' * 400}"})

    with pytest.raises(Unavailable) as refused:
        await db.write_at_once(much, early=Early())
    assert not isinstance(refused.value, CommitUnknown)
    assert await names(db) == ["c1"]
    # The connection that was refused is not asked again.
    await db.write_at_once(much, early=Early())
    assert len(here) == 2
    assert len(await names(db)) == 501


async def test_a_commit_that_breaks_is_unknown(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(db, "c1")
    end = ThreadWork._end

    def broken(self: ThreadWork, how: Any) -> None:
        end(self, how)
        if how == "COMMIT":
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as breaking:
        breaking.setattr(ThreadWork, "_end", broken)
        with pytest.raises(CommitUnknown):
            await add(db, "c2")
    assert await names(db) == ["c1", "c2"]


async def test_after_giving_up_nothing_is_written_early(db: Database, here: list[int]) -> None:
    await add(db, "c1")
    db.give_up()
    with pytest.raises(CommitUnknown):
        await add(db, "c2")
    assert len(here) == 1


async def test_a_replay_waits_for_what_another_process_wrote_early(
    db: Database, other: Database, disk: HeldDisk
) -> None:
    disk.goes_on.clear()
    first = await Acts(other).accept(idempotency_key="k", idempotency_hash="h")
    await eventually(lambda: disk.asked == 1)
    again = asyncio.create_task(Acts(db).accept(idempotency_key="k", idempotency_hash="h"))
    await eventually(lambda: disk.asked == 2)
    assert not again.done()
    disk.goes_on.set()
    replay = await again
    assert replay.replayed
    assert replay.generation.id == first.generation.id


@pytest.mark.parametrize("early", [True, False])
async def test_a_claim_is_written_early_where_it_is_asked_for(
    db: Database, here: list[int], early: bool
) -> None:
    acts = Acts(db)
    await acts.worker("wrk_1")
    name = (await acts.accept()).generation.id
    here.clear()
    wish = Early() if early else None
    claimed = await claim(db, name, 0, "wrk_1", lease_seconds=LEASE, early=wish)
    assert claimed is not None
    assert (claimed.settling is not None) == early
    assert len(here) == early


@pytest.mark.parametrize("fields", [{"thread": Thread("ai-sdk", "t")}, {"budget": TOKENS}])
async def test_a_request_that_may_look_at_many_rows_goes_to_a_thread(
    db: Database, here: list[int], fields: dict[str, Any]
) -> None:
    await Acts(db).accept(**fields)
    assert here == []


async def test_in_postgresql_what_is_written_is_stored(postgres_url: str) -> None:
    async with Database.open(postgres_url) as db:
        assert await add(db, "c1") is None
        await db.sync()
        assert await names(db) == ["c1"]
