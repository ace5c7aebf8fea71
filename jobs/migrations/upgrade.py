"""The way to the newest schema, on a connection whose transaction the caller holds."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

# The name of this lock among PostgreSQL's advisory ones; SQLite's is the write lock.
_LOCK = text("SELECT pg_advisory_xact_lock(5067, 1)")


def upgrade(connection: Connection) -> None:
    """Runs what is missing; a second one at the same time waits and then finds nothing to do."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Whether the schema is exactly the newest one."""
    return frozenset(MigrationContext.configure(connection).get_current_heads()) == _newest()


@cache
def _newest() -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(_config()).get_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
