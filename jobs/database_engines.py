"""How connections to SQLite and PostgreSQL are made: drivers, pragmas, pools, time limits.

Every wait is bounded here: for a connection, for a statement, for SQLite's write lock.
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from jobs import sqlite_driver
from jobs.left_sessions import LeftSessions
from jobs.postgres_links import PostgresLinks
from jobs.postgres_words import checked_words, split_words
from jobs.settings import InvalidSetting
from jobs.sqlite_lock import BEGIN_TO_READ, BEGIN_TO_WRITE, BUSY_SECONDS
from jobs.sqlite_statements import Statements

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10
IDLE_SECONDS = 1
PING_SECONDS = 2
"""How long a connection that has lain idle may take to show that it is alive."""
STILL_SECONDS = 5
"""After so long without a word from whoever has a transaction open, PostgreSQL ends its session.

A process that is frozen, or a machine that is gone, would hold its locks for as long, and with them
up all who are to be admitted; within it and a lease, a lost worker's readers must hear.
"""
LOCK_SECONDS = 3
"""How long a lock is waited for at a time, before the transaction begins anew: less than the above.

Else those who wait behind a machine that is gone, and are gone with it, get the lock one by one,
each for STILL_SECONDS.
"""
_SESSION = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{STILL_SECONDS}s",
    # Longer than anybody waits for one: who is not there any more waits for no lock either.
    "statement_timeout": f"{STATEMENT_SECONDS + 5}s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_LIMIT = "SELECT " + ", ".join(
    f"set_config('{name}', '{limit}', false)" for name, limit in _SESSION.items()
)
READERS = 16
"""Connections for reading that a process opens to SQLite at most, each with a thread of its own."""
POSTGRES_CONNECTIONS = 20
"""What a process opens at most, and keeps: to make one costs the server more than most statements.
Its server's `max_connections` is for all of them, and as many may be left at commits that hang."""


def database_url(url: str) -> URL:
    """The address with its async driver named; raises InvalidSetting for what can't be used."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidSetting("RELAY_DATABASE_URL", "is not a database address") from None
    backend = {"postgres": "postgresql"}.get(parsed.get_backend_name(), parsed.get_backend_name())
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InvalidSetting("RELAY_DATABASE_URL", "SQLite needs a file")
        if parsed.query:
            raise InvalidSetting("RELAY_DATABASE_URL", "SQLite takes nothing behind a `?`")
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend == "postgresql":
        return checked_words(parsed.set(drivername="postgresql+asyncpg"))
    raise InvalidSetting("RELAY_DATABASE_URL", "must be sqlite+aiosqlite or postgresql+asyncpg")


def _json_dumps(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_COMMON = {
    "json_serializer": _json_dumps,
    "json_deserializer": msgspec.json.decode,
    # An error would quote what users said, and hashes of tokens, into the log.
    "hide_parameters": True,
}


def sqlite_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """An engine whose single connection puts this process's writes in line, and one for reading.

    Raises InvalidSetting where the file's directory can't be made.
    """
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"its directory can't be made: {error.strerror}"
        raise InvalidSetting("RELAY_DATABASE_URL", reason) from error
    opened = partial(sqlite_driver.connect, plain_options=_COMMON, statements=Statements())
    common = {
        "connect_args": {"timeout": BUSY_SECONDS, "async_creator_fn": opened},
        "pool_timeout": STATEMENT_SECONDS,
        # Whoever has a connection ends its transaction; to try once more is a turn to its thread.
        "pool_reset_on_return": None,
        **_COMMON,
    }
    reader = create_async_engine(
        url,
        # No overflow: what is above the pool's size is closed on its return, where nothing can be
        # awaited, and would leave its thread and its files behind.
        pool_size=READERS,
        max_overflow=0,
        # The one that was used last has its pages and statements at hand.
        pool_use_lifo=True,
        execution_options={"relay_begin": BEGIN_TO_READ},
        **common,
    )
    writer = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        execution_options={"relay_begin": BEGIN_TO_WRITE},
        **common,
    )
    for engine in (reader, writer):
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return writer, reader


def _prepare_sqlite(dbapi_connection: Any, _: Any) -> None:
    # The driver's own BEGIN comes too late: updates that read first were lost without an error.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    if begin := connection.get_execution_options().get("relay_begin"):
        connection.exec_driver_sql(begin)


def postgresql_engine(
    url: URL, *, bounded: bool = True
) -> tuple[AsyncEngine, PostgresLinks, LeftSessions]:
    """One engine for all, what closes it, and what looks after the sessions that it leaves.

    A connection that has lain idle is tried before it is used. Unless it is `bounded`, a statement
    may take as long as the server lets it.
    """
    address, words = split_words(url)
    engine = create_async_engine(
        address,
        pool_size=POSTGRES_CONNECTIONS,
        max_overflow=0,
        pool_use_lifo=True,
        pool_timeout=STATEMENT_SECONDS,
        pool_recycle=1800,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS if bounded else None,
            **words,
        },
        **_COMMON,
    )
    event.listen(engine.sync_engine, "connect", _limit_session)
    event.listen(engine.sync_engine, "checkin", _note_use)
    event.listen(engine.sync_engine, "checkout", _try_when_idle)
    left = LeftSessions(engine, POSTGRES_CONNECTIONS, STATEMENT_SECONDS)
    return engine, PostgresLinks(engine), left


def _limit_session(dbapi_connection: Any, _: ConnectionPoolEntry) -> None:
    # Not while connecting: a pooler in between lets nobody in with settings that it does not know.
    cursor = dbapi_connection.cursor()
    cursor.execute(_LIMIT)
    cursor.close()
    dbapi_connection.commit()


def _note_use(_: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _try_when_idle(dbapi_connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    # The pool's own pre-ping costs three round trips, for a connection used just now as well.
    if time.monotonic() - record.info.get("used_at", math.inf) < IDLE_SECONDS:
        return
    try:
        # Its own ping waits for as long as a statement may take: a dead link would cost every
        # request that time, before the connection that takes its place.
        dbapi_connection.run_async(lambda asyncpg: asyncpg.fetchrow(";", timeout=PING_SECONDS))
    except Exception as error:
        raise InvalidatePoolError from error
