"""What outcomes do to a breaker: failures in a row open it, an answer closes it (protocol §8).

A write is done only where something changes: an answer under a breaker without failures, or a
failure under one that is open already, leaves the row as it is.
"""

import msgspec
from sqlalchemy import (
    Integer,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, UniqueViolation, now_ms
from jobs.tables import breakers

DAY_SECONDS = 86_400.0


class Place(msgspec.Struct, frozen=True):
    """What a breaker stands before."""

    endpoint: str
    model: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long; the pause doubles with each probe that fails."""

    failures: int = 5
    first_pause_seconds: float = 2.0
    longest_pause_seconds: float = 30.0


class Opened(msgspec.Struct, frozen=True):
    """A breaker that has just opened, or stays open: failures in a row, seconds to the probe."""

    failures: int
    wait_seconds: float


_at_place = and_(
    breakers.c.endpoint == bindparam("at_endpoint"), breakers.c.model == bindparam("at_model")
)
_held_by = breakers.c.probe == bindparam("holder")
_pause_ms = breakers.c.retry_at - now_ms()
_RELEASE_PROBE = (
    update(breakers)
    .where(_at_place, _held_by)
    .values(probe=null(), probe_until=null(), changed_at=now_ms())
)
_longest = bindparam("longest_ms", type_=Integer)
_doubled = case((breakers.c.pause_ms * 2 > _longest, _longest), else_=breakers.c.pause_ms * 2)
_FAIL_PROBE = (
    update(breakers)
    .where(_at_place, _held_by)
    .values(
        failures=breakers.c.failures + 1,
        pause_ms=_doubled,
        retry_at=now_ms() + _doubled + bindparam("jitter_ms"),
        probe=null(),
        probe_until=null(),
        changed_at=now_ms(),
    )
    .returning(breakers.c.failures, _pause_ms.label("pause_ms"))
)
_IS_OPEN = select(breakers.c.opened_at).where(_at_place, breakers.c.opened_at.is_not(None))
_COUNT = (
    update(breakers)
    .where(_at_place, breakers.c.opened_at.is_(None))
    .values(failures=breakers.c.failures + 1, changed_at=now_ms())
    .returning(breakers.c.failures)
)
_BEGIN_COUNT = insert(breakers).values(
    endpoint=bindparam("at_endpoint"),
    model=bindparam("at_model"),
    failures=literal_column("1"),
    pause_ms=bindparam("first_ms"),
    changed_at=now_ms(),
)
_OPEN = (
    update(breakers)
    .where(_at_place)
    .values(opened_at=now_ms(), retry_at=now_ms() + breakers.c.pause_ms + bindparam("jitter_ms"))
    .returning(breakers.c.failures, _pause_ms.label("pause_ms"))
)
_CLOSE = delete(breakers).where(_at_place).returning(breakers.c.opened_at)
_FORGET = delete(breakers).where(breakers.c.changed_at < now_ms() - bindparam("silence_ms"))


async def note_failure(
    db: Database, place: Place, rule: Rule, *, jitter_seconds: float = 0.0
) -> Opened | None:
    """Counts a failure against a breaker that is not open; gives what it opened, if it did.

    One that is open already stays as it is. Raises Unavailable and CommitUnknown.
    """
    parameters = {
        "at_endpoint": place.endpoint,
        "at_model": place.model,
        "first_ms": round(rule.first_pause_seconds * 1000),
        "jitter_ms": round(jitter_seconds * 1000),
    }

    async def count(connection: AsyncConnection) -> Opened | None:
        failures = (await connection.execute(_COUNT, parameters)).scalar()
        if failures is None:
            # Another worker may have begun to count since: the insert is refused then, and the
            # failure counted beside it. Only before an open breaker is there nothing to count.
            if (await connection.execute(_IS_OPEN, parameters)).first() is not None:
                return None
            await connection.execute(_BEGIN_COUNT, parameters)
            failures = 1
        if failures < rule.failures:
            return None
        row = (await connection.execute(_OPEN, parameters)).one()
        return Opened(row.failures, row.pause_ms / 1000)

    while True:
        try:
            return await db.write(count)
        except UniqueViolation:
            continue


async def fail_probe(
    db: Database, place: Place, probe: str, rule: Rule, *, jitter_seconds: float = 0.0
) -> Opened | None:
    """Keeps the breaker open for twice the pause before; None when this is not its probe now.

    Raises CommitUnknown.
    """
    rows = await db.write_one(
        _FAIL_PROBE,
        {
            "at_endpoint": place.endpoint,
            "at_model": place.model,
            "holder": probe,
            "longest_ms": round(rule.longest_pause_seconds * 1000),
            "jitter_ms": round(jitter_seconds * 1000),
        },
    )
    return Opened(rows[0].failures, rows[0].pause_ms / 1000) if rows else None


async def release_probe(db: Database, place: Place, probe: str) -> None:
    """Lets another one be the probe: this one ended without telling anything of the endpoint.

    Raises CommitUnknown.
    """
    await db.write_one(
        _RELEASE_PROBE, {"at_endpoint": place.endpoint, "at_model": place.model, "holder": probe}
    )


async def note_answer(db: Database, place: Place) -> bool:
    """Closes the breaker and forgets its failures; whether it was open. Raises CommitUnknown.

    Whoever was answered may say so, the probe or not.
    """
    rows = await db.write_one(_CLOSE, {"at_endpoint": place.endpoint, "at_model": place.model})
    return any(row.opened_at is not None for row in rows)


async def forget_breakers(db: Database, silent_seconds: float = DAY_SECONDS) -> None:
    """Deletes breakers that nothing has happened to for this long. Raises CommitUnknown."""
    await db.write_one(_FORGET, {"silence_ms": round(silent_seconds * 1000)})
