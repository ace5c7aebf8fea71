"""How long a migration of PostgreSQL may take: as long as the server works at it, and no longer.

A statement over a large table takes its time, which no limit of ours may cut short; a lock that
somebody holds is waited for briefly, since all who come later wait behind it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from sqlalchemy import Executable, Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.cancelling import end_tasks
from jobs.database_errors import has_collided
from jobs.errors import Unavailable
from jobs.migrations import upgrade

LOOK_SECONDS = 5.0
LOST_SECONDS = 30.0
"""After so long without a sign of its session a migration is given up."""

_OWN_SESSION = text(
    "SELECT pid, backend_start AS started FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
_IS_IT = "pid = CAST(:pid AS integer) AND backend_start = CAST(:started AS timestamptz)"
_SESSION = text(f"SELECT 1 FROM pg_stat_activity WHERE {_IS_IT}")
# At a commit that waits for its standbys it would be taken for made on all of them.
_END_SESSION = text(
    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_IS_IT}"
    " AND wait_event IS DISTINCT FROM 'SyncRep'"
)


class SchemaLocked(Unavailable):
    """Others kept a lock that the migration needs; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("the schema")

    def __str__(self) -> str:
        return (
            f"{self.what} can't be changed: another session holds a lock on a table (see"
            " pg_stat_activity); nothing was changed, so try again"
        )


class Watching(Protocol):
    """A database that is read in bounded time."""

    async def fetch(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Row[Any]]:
        """The rows of one reading statement; raises Unavailable."""


class Patient(Protocol):
    """The same, opened without a limit to what a statement takes."""

    async def write(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Runs this work in one transaction; raises Unavailable."""

    def give_up(self) -> None:
        """Breaks it off."""


async def migrate(database: Watching, patient: Patient, told: upgrade.Told) -> None:
    """Migrates over `patient`, which sets no limit to a statement, and looks over `database`.

    It is given up once nothing was seen of its session for LOST_SECONDS, or where the caller is
    cancelled, and then ended at the server too. Raises Unavailable.
    """
    session: dict[str, Any] = {"pid": None, "started": None}

    async def work(connection: AsyncConnection) -> None:
        nonlocal session
        row = (await connection.execute(_OWN_SESSION)).one()
        session = {"pid": row.pid, "started": row.started}
        await connection.run_sync(upgrade.upgrade, told)

    async def watch() -> None:
        seen = time.monotonic()
        while time.monotonic() - seen < LOST_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            # What is not reachable now may be at the next look.
            with suppress(Unavailable):
                if await database.fetch(_SESSION, session):
                    seen = time.monotonic()
        patient.give_up()

    migrating = asyncio.create_task(patient.write(work), name="migration")
    watching = asyncio.create_task(watch(), name="watch over the migration")
    try:
        await asyncio.shield(migrating)
    except (Unavailable, asyncio.CancelledError) as error:
        patient.give_up()
        with suppress(Unavailable):
            # It would work on for nobody, and keep its locks for as long.
            await database.fetch(_END_SESSION, session)
        if has_collided(error.__cause__):
            raise SchemaLocked from error
        raise
    finally:
        await end_tasks({migrating, watching})
