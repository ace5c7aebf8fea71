"""The way to the newest schema, on a connection whose transaction the caller holds."""

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from jobs.database_errors import refuses_setting

LOCK_SECONDS = 3.0
"""How long a table's lock is waited for: whatever comes to that table meanwhile waits behind."""

# No statement's time is limited, nor how long another migration is waited for.
_UNLIMITED = text(
    "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)"
)
# The name of this lock among PostgreSQL's advisory ones; SQLite's is the write lock.
_LOCK = text("SELECT pg_advisory_xact_lock(5067, 1)")
_SHORT_LOCKS = text("SELECT set_config('lock_timeout', :limit, true)")
CLIENT_CHECK = ("client_connection_check_interval", "2s")
"""Lets a server, 14 or newer, look while it works whether this process is still there."""
_SET = text("SELECT set_config(:name, :value, true)")


Told = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


def upgrade(connection: Connection, told: Told) -> None:
    """Runs what is missing; a second one at the same time waits and then finds nothing to do.

    `told` is called after each migration.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_UNLIMITED)
        _end_with_this_process(connection)
        connection.execute(_LOCK)
        connection.execute(_SHORT_LOCKS, {"limit": f"{round(LOCK_SECONDS * 1000)}ms"})
    config = _config()
    config.attributes["connection"] = connection
    missing, done = _missing(connection), itertools.count(1)
    config.attributes["on_version_apply"] = lambda **_: told(next(done), missing)
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Whether the schema is exactly the newest one."""
    return frozenset(MigrationContext.configure(connection).get_current_heads()) == _newest()


def _end_with_this_process(connection: Connection) -> None:
    name, value = CLIENT_CHECK
    try:
        # Of its own: a server that does not know the setting would refuse all that follows.
        with connection.begin_nested():
            connection.execute(_SET, {"name": name, "value": value})
    except DBAPIError as error:
        if not refuses_setting(error):
            raise


def _missing(connection: Connection) -> int:
    script = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection).get_current_heads()
    every = {one.revision for one in script.walk_revisions()}
    there = script.iterate_revisions(current, "base") if current else ()
    return len(every - {one.revision for one in there})


@cache
def _newest() -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(_config()).get_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
