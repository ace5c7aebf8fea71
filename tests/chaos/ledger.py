"""The database itself notes each change of a generation, by triggers that only a test puts there.

Rows tell the newest attempt alone, and who looks now and then misses what lasted briefly. A note is
of the very transaction that made the change: it is there if that was committed, and not else.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.chaos.changes import Change
from tests.chaos.system import System

_NOTED = (
    "id", "conversation_id", "state", "attempt", "active", "worker_id", "reset_reason",
    "cancel_requested",
)  # fmt: skip
_EVENTS = ("INSERT", "UPDATE")
_NOW = {
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
    "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)",
}
_TABLE = """CREATE TABLE chaos_ledger (
    number {serial}, at_ms BIGINT, id TEXT, conversation_id TEXT, state TEXT, attempt INTEGER,
    active BOOLEAN, worker_id TEXT, reset_reason TEXT, cancel_requested BOOLEAN)"""


def _install(dialect: str) -> list[str]:
    values = ", ".join(f"NEW.{name}" for name in _NOTED)
    note = (
        f"INSERT INTO chaos_ledger (at_ms, {', '.join(_NOTED)}) VALUES ({_NOW[dialect]}, {values});"
    )
    if dialect == "sqlite":
        return [
            _TABLE.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT"),
            *(
                f"CREATE TRIGGER chaos_{event} AFTER {event} ON generations BEGIN {note} END"
                for event in _EVENTS
            ),
        ]
    return [
        _TABLE.format(serial="BIGSERIAL"),
        f"CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {note} RETURN NULL; END $$",
        *(
            f"CREATE TRIGGER chaos_{event} AFTER {event} ON generations"
            " FOR EACH ROW EXECUTE FUNCTION chaos_note()"
            for event in _EVENTS
        ),
    ]


def _remove(dialect: str) -> list[str]:
    table = "DROP TABLE IF EXISTS chaos_ledger"
    if dialect == "sqlite":
        return [*(f"DROP TRIGGER IF EXISTS chaos_{event}" for event in _EVENTS), table]
    return ["DROP FUNCTION IF EXISTS chaos_note() CASCADE", table]


@asynccontextmanager
async def noted(system: System) -> AsyncIterator[None]:
    """Whatever becomes of a generation within the block can be read by `changes`."""
    removed = _remove(system.db.dialect)
    # What a block that failed has left is of no use, and its database may have been away.
    await _run(system, [*removed, *_install(system.db.dialect)])
    yield
    await _run(system, removed)


async def changes(system: System) -> list[Change]:
    """All that was noted, in the order of the database."""
    rows = await system.rows(f"SELECT at_ms, {', '.join(_NOTED)} FROM chaos_ledger ORDER BY number")
    # Both clocks are this machine's.
    ahead = time.time() - time.monotonic()
    return [
        Change(
            id_, conversation, at_ms / 1000 - ahead, state, attempt, bool(active), worker or "",
            reset, bool(cancelled),
        )
        for at_ms, id_, conversation, state, attempt, active, worker, reset, cancelled in rows
    ]  # fmt: skip


async def _run(system: System, statements: Sequence[str]) -> None:
    async def work(connection: AsyncConnection) -> None:
        for statement in statements:
            await connection.execute(text(statement))

    await system.db.write(work)
