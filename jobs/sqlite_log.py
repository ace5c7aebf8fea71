"""Gives SQLite's write-ahead log its length beforehand: to make a file longer costs a sync more.

Where the file has bytes already, a commit syncs data alone; else the file system's own journal too.
A log is begun anew once it is about this long, so that only its first round would be dearer. It is
deleted when the last process closes the database.
"""

import os
import sqlite3

LOG_BYTES = 4_100_000
"""1,000 pages with their heads: then SQLite takes to the database what is in the log."""
LEFT_FREE = 10
"""So many times its length stay free on the disk: a journal beside it needs room before it does."""
_FEW_PAGES = 8


def lengthen_log(connection: sqlite3.Connection) -> bool:
    """Makes the log of this connection's database so long, and stores nothing; whether it did.

    It does not where the log is long already, there is none, or the disk is nearly full. Raises
    sqlite3.Error and OSError.
    """
    [mode] = connection.execute("PRAGMA journal_mode").fetchone()
    names = {name: path for _, name, path in connection.execute("PRAGMA database_list")}
    log = f"{names['main']}-wal"
    if mode != "wal" or (os.path.exists(log) and os.path.getsize(log) >= LOG_BYTES):
        return False
    disk = os.statvfs(os.path.dirname(log))
    if disk.f_bavail * disk.f_frsize < LEFT_FREE * LOG_BYTES:
        return False
    [cache] = connection.execute("PRAGMA cache_size").fetchone()
    # What does not fit into so small a cache goes to the log, and stays there unheeded.
    connection.execute(f"PRAGMA cache_size={_FEW_PAGES}")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE filling (bytes)")
        connection.execute("INSERT INTO filling VALUES (zeroblob(?))", (LOG_BYTES,))
    finally:
        try:
            # A full disk has ended it already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            connection.execute(f"PRAGMA cache_size={cache}")
    _sync(log)
    return True


def _sync(path: str) -> None:
    # Else it would be the first commit that waits for all of it.
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
