"""SQLite's lock for writing, taken soon after another process lets go of it.

SQLite itself looks again after 1, 2, 5, 10 ms and more, though most commits are over in less: who
is told of one that is under way would come too late.
"""

import random
import sqlite3
import time

BEGIN_TO_READ = "BEGIN"
BEGIN_TO_WRITE = "BEGIN IMMEDIATE"
BUSY_SECONDS = 5
"""For how long another's lock is waited for."""
_FIRST_SECONDS = 0.0001
_SHARE_OF_THE_WAIT = 1 / 8
_LAST_SECONDS = 0.01


def begin_to_write(connection: sqlite3.Connection) -> None:
    """Begins a transaction that has the lock; blocks its thread meanwhile.

    Raises sqlite3.OperationalError where others keep it for BUSY_SECONDS.
    """
    connection.execute("PRAGMA busy_timeout=0")
    try:
        began = time.monotonic()
        while not _begun(connection, last=time.monotonic() - began >= BUSY_SECONDS):
            waited = time.monotonic() - began
            wait = min(max(_FIRST_SECONDS, waited * _SHARE_OF_THE_WAIT), _LAST_SECONDS)
            time.sleep(wait * random.uniform(0.5, 1.0))
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _begun(connection: sqlite3.Connection, *, last: bool) -> bool:
    try:
        connection.execute(BEGIN_TO_WRITE)
    except sqlite3.OperationalError as error:
        # The low byte: a lock may be busy in several ways.
        if last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True
