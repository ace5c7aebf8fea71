"""SQLite's log is made as long as it gets, once, and nothing is stored by that."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs.database import Database
from jobs.sqlite_driver import in_thread
from jobs.sqlite_log import LEFT_FREE, LOG_BYTES, lengthen_log
from jobs.sqlite_thread import ThreadWork


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE notes (text)")
        made.execute("INSERT INTO notes VALUES ('kept')")
        yield made


def cache_size(thread: ThreadWork) -> list[Any]:
    """Pages, or KiB below zero."""
    return thread._driver.execute("PRAGMA cache_size").fetchall()


def log_bytes(path: Path) -> int:
    return os.path.getsize(f"{path}-wal")


def test_a_log_is_lengthened_once_and_nothing_is_stored(
    connection: sqlite3.Connection, path: Path
) -> None:
    size, cache = path.stat().st_size, connection.execute("PRAGMA cache_size").fetchone()
    assert lengthen_log(connection)
    assert log_bytes(path) >= LOG_BYTES
    assert not lengthen_log(connection)
    connection.execute("INSERT INTO notes VALUES ('later')")
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT text FROM notes").fetchall() == [("kept",), ("later",)]
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert path.stat().st_size == size
    assert connection.execute("PRAGMA cache_size").fetchone() == cache


def test_commits_write_where_the_log_has_bytes_already_also_once_it_is_begun_anew(
    connection: sqlite3.Connection, path: Path
) -> None:
    lengthen_log(connection)
    long = log_bytes(path)
    for number in range(300):
        connection.execute("INSERT INTO notes VALUES (?)", (f"{number} " * 2000,))
    # More than a log's worth went through it, so that it was begun anew.
    assert path.stat().st_size > 300 * 4096
    assert log_bytes(path) < long + 100 * 4096


def test_a_log_is_found_behind_a_link_to_the_database(
    connection: sqlite3.Connection, path: Path
) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    with closing(sqlite3.connect(link, isolation_level=None)) as linked:
        assert lengthen_log(linked)
        assert log_bytes(path) >= LOG_BYTES


def test_a_full_disk_leaves_the_connection_as_it_was(connection: sqlite3.Connection) -> None:
    cache = connection.execute("PRAGMA cache_size").fetchone()
    connection.execute("PRAGMA max_page_count=100")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        lengthen_log(connection)
    assert not connection.in_transaction
    assert connection.execute("PRAGMA cache_size").fetchone() == cache
    connection.execute("INSERT INTO notes VALUES ('later')")


def test_a_disk_that_is_nearly_full_keeps_its_room_for_others(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = LEFT_FREE * LOG_BYTES
    for blocks, lengthened in ((free - 1, False), (free, True)):
        disk = os.statvfs_result((1, 1, free, free, blocks, 0, 0, 0, 0, 255))
        monkeypatch.setattr("jobs.sqlite_log.os.statvfs", lambda _, disk=disk: disk)
        assert lengthen_log(connection) is lengthened
        assert (log_bytes(path) >= LOG_BYTES) is lengthened


@pytest.fixture
def damaged(path: Path) -> str:
    """The address of a database whose list of free pages is damaged; what is in it can be read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE notes (text)")
        made.execute("CREATE TABLE gone (text)")
        made.execute("INSERT INTO gone VALUES (zeroblob(200000))")
        made.execute("DROP TABLE gone")
    whole = bytearray(path.read_bytes())
    # The first page of those that are free, by the database's head.
    trunk = (int.from_bytes(whole[32:36]) - 1) * 4096
    whole[trunk : trunk + 4096] = b"\xff" * 4096
    path.write_bytes(whole)
    return f"sqlite+aiosqlite:///{path}"


async def test_a_damaged_database_keeps_no_worker_from_starting(
    damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Database.open(damaged) as database:
        with caplog.at_level(logging.INFO):
            await database.lengthen_log()
        assert "is not lengthened" in caplog.text
        await database.write_one(text("INSERT INTO notes VALUES ('a write goes on')"))
        assert len(await database.fetch(text("SELECT * FROM notes"))) == 1


def test_a_database_without_a_log_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as without:
        without.execute("CREATE TABLE notes (text)")
        assert not lengthen_log(without)


@pytest.mark.usefixtures("connection")
async def test_a_database_that_is_busy_is_left_as_it_is_and_lengthened_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("jobs.database_engines.BUSY_SECONDS", 0.05)
    async with Database.open(f"sqlite+aiosqlite:///{path}") as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as busy:
            busy.execute("BEGIN IMMEDIATE")
            with caplog.at_level(logging.INFO):
                await database.lengthen_log()
            assert "is not lengthened" in caplog.text
            assert log_bytes(path) < LOG_BYTES
            busy.execute("ROLLBACK")
            [[cache]] = await in_thread(database._writer, cache_size)
            assert cache == -2000
        await database.lengthen_log()
        assert log_bytes(path) >= LOG_BYTES
