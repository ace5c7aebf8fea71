"""What nobody is working on: lost, never enqueued, overdue, or waiting for nobody."""

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.generation import Kind
from jobs.kinds import BUILT_IN
from jobs.store.breakers import is_shut
from jobs.store.expiring import IS_OVERDUE
from jobs.store.line import lock_line, promote
from jobs.store.rows import IS_ACTIVE, IS_RUNNING, IS_UNFINISHED
from jobs.store.workers import has_no_lease
from jobs.tables import generations, workers


class Lost(msgspec.Struct, frozen=True):
    """A running generation that nobody runs: handed over, or its worker silent for the lease.

    It may be claimed with `attempt` as the attempt seen. `late`: it began so long ago that nobody
    can have run it for as long as a queued one may wait. `lost_ms`: for how long its worker has
    been silent beyond the lease; None where that is not known.
    """

    id: str
    kind: Kind
    attempt: int
    lost_attempts: int
    restartable: bool
    handed_over: bool
    cancel_requested: bool
    late: bool
    lost_ms: int | None = None


class Leftovers(msgspec.Struct, frozen=True):
    """Of what there is at least one, as `find_lost` and the others of this file would find it."""

    overdue: bool = True
    stuck: bool = True
    unenqueued: bool = True
    lost: bool = True


NOTHING_LEFT = Leftovers(overdue=False, stuck=False, unenqueued=False, lost=False)

_has_nobody = or_(generations.c.handed_over, has_no_lease())
_lost_ms = (
    select(now_ms() - workers.c.heartbeat_at - bindparam("lease_ms", type_=BigInteger))
    .where(workers.c.id == generations.c.worker_id)
    .correlate(generations)
    .scalar_subquery()
)
_LOST = (
    select(
        generations.c.id,
        generations.c.kind,
        generations.c.attempt,
        generations.c.lost_attempts,
        generations.c.restartable,
        generations.c.handed_over,
        generations.c.cancel_requested,
        (
            now_ms() - generations.c.started_at
            > cast(generations.c.attempt, BigInteger) * bindparam("attempt_ms", type_=BigInteger)
        ).label("late"),
        _lost_ms.label("lost_ms"),
    )
    # In the words of the index that is in this order: by others all that ever ran would be read.
    .where(IS_UNFINISHED, generations.c.state == "running", _has_nobody)
    .order_by(generations.c.created_at)
    .limit(bindparam("limit"))
)
_is_unenqueued = and_(
    IS_UNFINISHED,
    generations.c.state == "queued",
    IS_ACTIVE,
    generations.c.created_at <= now_ms() - bindparam("age_ms"),
    generations.c.expires_at > now_ms(),
    ~is_shut(),
)
_UNENQUEUED = (
    select(generations.c.id)
    .where(_is_unenqueued)
    .order_by(generations.c.created_at, generations.c.id)
    .limit(bindparam("limit"))
)
_last = generations.alias("last")
_last_created_at = (
    select(_last.c.created_at).where(_last.c.id == bindparam("after")).scalar_subquery()
)
_UNENQUEUED_AFTER = _UNENQUEUED.where(
    generations.c.created_at >= _last_created_at,
    or_(generations.c.created_at > _last_created_at, generations.c.id > bindparam("after")),
)
_UNTAKEN_KINDS = (
    select(generations.c.kind, func.count().label("untaken"))
    .where(
        IS_UNFINISHED,
        generations.c.state == "queued",
        IS_ACTIVE,
        generations.c.created_at <= now_ms() - bindparam("age_ms"),
        generations.c.expires_at > now_ms(),
        generations.c.kind.not_in(sorted(BUILT_IN)),
    )
    .group_by(generations.c.kind)
    .order_by(generations.c.kind)
)
_holders = generations.alias("holders")
_is_stuck = and_(
    IS_UNFINISHED,
    generations.c.state == "queued",
    ~generations.c.active,
    generations.c.expires_at > now_ms(),
    ~select(literal_column("1"))
    .select_from(_holders)
    .where(
        _holders.c.conversation_id == generations.c.conversation_id,
        literal_column("holders.active"),
    )
    .correlate(generations)
    .exists(),
)
_STUCK = select(generations.c.conversation_id).where(_is_stuck).distinct().limit(bindparam("limit"))


def _there_is_one(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(literal_column("1")).select_from(generations).where(condition).exists()


_LEFTOVERS = select(
    _there_is_one(IS_OVERDUE).label("overdue"),
    _there_is_one(_is_stuck).label("stuck"),
    _there_is_one(_is_unenqueued).label("unenqueued"),
    _there_is_one(and_(IS_RUNNING, _has_nobody)).label("lost"),
)


async def look_for_leftovers(
    db: Database,
    *,
    lease_seconds: float,
    older_than_seconds: float,
    endpoint: str | None = None,
) -> Leftovers:
    """What of all this there is, in one statement; the arguments as those of `find_lost` and
    `find_unenqueued`. Raises Unavailable.
    """
    parameters = {
        "lease_ms": round(lease_seconds * 1000),
        "age_ms": round(older_than_seconds * 1000),
        "at_endpoint": endpoint,
    }
    [row] = await db.fetch(_LEFTOVERS, parameters)
    return Leftovers(**row._mapping)


async def find_lost(
    db: Database, lease_seconds: float, limit: int, *, attempt_seconds: float | None = None
) -> list[Lost]:
    """At most `limit` running generations to be claimed anew, oldest first; raises Unavailable.

    `attempt_seconds`: what one attempt and the wait for the next may take together; None where
    none is ever late.
    """
    parameters = {
        "lease_ms": round(lease_seconds * 1000),
        "attempt_ms": None if attempt_seconds is None else round(attempt_seconds * 1000),
        "limit": limit,
    }
    rows = await db.fetch(_LOST, parameters)
    return [
        Lost(**{**row._mapping, "kind": Kind(row.kind), "late": bool(row.late)}) for row in rows
    ]


async def find_unenqueued(
    db: Database,
    older_than_seconds: float,
    limit: int,
    *,
    endpoint: str | None = None,
    after: str | None = None,
) -> list[str]:
    """At most `limit` ids, oldest first, that are active, queued for longer and not overdue.

    `after`: only those behind this one, whatever became of it; none where it was deleted.

    Left out is what an open breaker keeps waiting at this endpoint, or where none is given at any.
    They may be in the queue all the same: enqueuing one twice must be harmless.
    """
    age_ms = round(older_than_seconds * 1000)
    parameters = {"age_ms": age_ms, "limit": limit, "at_endpoint": endpoint, "after": after}
    statement = _UNENQUEUED_AFTER
    if after is None:
        statement = _UNENQUEUED
        del parameters["after"]
    return [row.id for row in await db.fetch(statement, parameters)]


async def find_untaken_kinds(db: Database, older_than_seconds: float) -> dict[str, int]:
    """How many that could be claimed were not for so long, of each kind that is not built in.

    Raises Unavailable.
    """
    parameters = {"age_ms": round(older_than_seconds * 1000)}
    return {row.kind: row.untaken for row in await db.fetch(_UNTAKEN_KINDS, parameters)}


async def promote_waiting(db: Database, limit: int) -> list[str]:
    """Promotes where a line waits behind nobody, in at most `limit` conversations.

    Gives the ids that became active, to be enqueued. Every end promotes by itself, so
    this finds nothing unless a hand changed the rows. Raises Unavailable.
    """
    promoted = []
    for row in await db.fetch(_STUCK, {"limit": limit}):
        if (one := await _promote(db, row.conversation_id)) is not None:
            promoted.append(one)
    return promoted


async def _promote(db: Database, conversation_id: str) -> str | None:
    async def work(connection: AsyncConnection) -> str | None:
        await lock_line(connection, conversation_id=conversation_id)
        return await promote(connection, conversation_id)

    return await db.write_at_once(work)
